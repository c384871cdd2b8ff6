/** Long work on the main thread, cut into slices that input and frames can come between. */

const SLICE_MS = 8;

export class Slices {
  private began = performance.now();

  /** Gives way when this slice has used its time; call it after every small piece of the work. */
  async pause(): Promise<void> {
    if (performance.now() - this.began < SLICE_MS) return;
    await giveWay();
    this.began = performance.now();
  }
}

/** `scheduler.yield` goes on before other waiting tasks; where it is missing a timer does, a little later. */
function giveWay(): Promise<void> {
  if ("scheduler" in globalThis && "yield" in scheduler) return scheduler.yield();
  return new Promise((resolve) => setTimeout(resolve));
}
