/** Active time: the seconds in which somebody worked. A pause longer than the cap counts as the cap. */

/** A person who looks at the screen for this long without touching anything is still working. */
export const IDLE_CAP_MS = 15_000;

export class ActiveClock {
  private sum = 0;
  private last: number | null = null;

  constructor(private readonly now: () => number = () => performance.now()) {}

  /** Something was done; the time since the last thing counts. */
  touch(): void {
    const at = this.now();
    if (this.last !== null) this.sum += Math.min(IDLE_CAP_MS, at - this.last);
    this.last = at;
  }

  /** The tab went out of sight: what follows doesn't count. */
  leave(): void {
    this.touch();
    this.last = null;
  }

  /** Active milliseconds so far, those of the present moment included. */
  get elapsed(): number {
    const running = this.last === null ? 0 : Math.min(IDLE_CAP_MS, this.now() - this.last);
    return this.sum + running;
  }

  /** Active milliseconds since the last `restart`, and begin anew. */
  restart(): number {
    this.touch();
    const found = this.sum;
    this.sum = 0;
    return found;
  }
}
