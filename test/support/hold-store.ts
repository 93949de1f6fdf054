import { openStoreForTest } from './store.ts';

/** Opens the store in the folder given, says so, and holds it until it is killed. */
await openStoreForTest({ root: process.argv[2] ?? '' });
process.stdout.write('open\n');
setInterval(() => {}, 1000);
