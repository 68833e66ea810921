/** Seeded random numbers (mulberry32), so that a failing run can be told by its seed. */
export function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/**
 * Runs `scenario(random, seed)` for many seeds; a failure names its seed.
 * SEED=… replays one; RUNS=… changes how many.
 */
export async function forSeeds(runs, scenario) {
  const only = process.env.SEED;
  const seeds = only ? [Number(only)] : Array.from({ length: Number(process.env.RUNS ?? runs) }, (_, i) => i + 1);
  for (const seed of seeds) {
    try {
      await scenario(seeded(seed), seed);
    } catch (cause) {
      console.error(`SEED=${seed}`);
      throw new Error(`SEED=${seed}: ${cause.stack}`, { cause });
    }
  }
}
