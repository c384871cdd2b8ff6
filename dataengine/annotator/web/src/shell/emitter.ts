import { useLayoutEffect, useState } from "preact/hooks";

/** Something that changes; panels that `useEmitter` it are drawn again, at most once a frame. */
export class Emitter {
  private readonly listeners = new Set<() => void>();
  private planned = false;
  /** Counts the changes. */
  version = 0;

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  emit(): void {
    this.version++;
    if (this.planned) return;
    this.planned = true;
    queueMicrotask(() => {
      this.planned = false;
      for (const listener of [...this.listeners]) listener();
    });
  }
}

export function useEmitter<T extends Emitter | null>(source: T): T {
  const [, redraw] = useState(0);
  const drawn = source?.version;
  useLayoutEffect(() => {
    if (!source) return;
    // What happened between drawing and listening would otherwise never be shown.
    if (source.version !== drawn) redraw((count) => count + 1);
    return source.subscribe(() => redraw((count) => count + 1));
  }, [source]);
  return source;
}
