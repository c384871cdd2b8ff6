/** The picture at several sizes: the smallest that is sharp enough at the present zoom is fetched and drawn. */

import { ApiError } from "../api/client";
import type { ImageInfo } from "../api/types";

interface Level {
  width: number;
  height: number;
  url: string;
  bitmap: ImageBitmap | null;
  loading: Promise<void> | null;
}

export class Pyramid {
  private readonly levels: Level[];
  private closed = false;

  constructor(
    image: ImageInfo,
    private readonly changed: () => void,
  ) {
    const levels = image.pyramid.length > 0 ? image.pyramid : [{ ...image, url: image.display_url }];
    this.levels = levels
      .map((level) => ({ width: level.width, height: level.height, url: level.url, bitmap: null, loading: null }))
      .sort((a, b) => a.width - b.width);
  }

  /** The sharpest bitmap at hand for a picture drawn `width` device pixels wide; fetches a better one if there is. */
  best(width: number): ImageBitmap | null {
    const wanted = this.levels.findIndex((level) => level.width >= width);
    const index = wanted < 0 ? this.levels.length - 1 : wanted;
    void this.load(this.levels[index]);
    if (this.levels[index].bitmap) return this.levels[index].bitmap;
    const others = this.levels.filter((level) => level.bitmap);
    return others.at(-1)?.bitmap ?? null;
  }

  /** Resolves when a first picture is there. Raises ApiError. */
  async ready(width: number): Promise<void> {
    const wanted = this.levels.find((level) => level.width >= width) ?? this.levels.at(-1);
    if (wanted) await this.load(wanted);
  }

  private load(level: Level): Promise<void> {
    level.loading ??= this.fetch(level).catch((error) => {
      level.loading = null;
      throw error;
    });
    // Whoever only draws doesn't look at failures; `ready` does.
    level.loading.catch(() => {});
    return level.loading;
  }

  private async fetch(level: Level): Promise<void> {
    const response = await fetch(level.url, { credentials: "same-origin" }).catch(() => {
      throw new ApiError(0, "no_connection", "the server can't be reached");
    });
    if (!response.ok)
      throw new ApiError(response.status, "image", `the picture could not be loaded (${response.status})`);
    const bitmap = await createImageBitmap(await response.blob());
    if (this.closed) bitmap.close();
    else level.bitmap = bitmap;
    this.changed();
  }

  close(): void {
    this.closed = true;
    for (const level of this.levels) level.bitmap?.close();
  }
}
