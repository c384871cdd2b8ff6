import { useEffect, useState } from "preact/hooks";
import { ApiError } from "../api/client";

export interface Fetched<T> {
  value: T | null;
  error: ApiError | null;
  again: () => void;
}

/** Ask once, and then every `every` milliseconds; an error keeps the last answer on the screen. */
export function useFetched<T>(ask: () => Promise<T>, every = 0, key = ""): Fetched<T> {
  const [value, setValue] = useState<T | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const [count, setCount] = useState(0);
  useEffect(() => {
    let gone = false;
    ask().then(
      (found) => {
        if (gone) return;
        setValue(found);
        setError(null);
      },
      (problem) => {
        if (!gone) setError(problem instanceof ApiError ? problem : new ApiError(0, "page", String(problem)));
      },
    );
    const timer = every > 0 ? setTimeout(() => setCount((before) => before + 1), every) : 0;
    return () => {
      gone = true;
      clearTimeout(timer);
    };
  }, [count, key, every]);
  return { value, error, again: () => setCount((before) => before + 1) };
}
