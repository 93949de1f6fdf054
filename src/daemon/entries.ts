/**
 * Where the code of the engine's threads lies. From source each is a file of its own; bundled, they lie side by side in dist/
 * (scripts/build.ts), whichever chunk this module went to.
 */
const fromSource = import.meta.url.endsWith('.ts');

export const workerEntry = new URL(fromSource ? './worker.ts' : './worker.mjs', import.meta.url);
export const databaseEntry = new URL(fromSource ? '../store/database/thread.ts' : './database.mjs', import.meta.url);
