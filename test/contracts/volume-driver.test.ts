import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LocalVolumeDriver } from '../../src/volumes/drivers/local.ts';
import { volumeDriverContract } from './volume-driver.ts';

volumeDriverContract(
  'local',
  (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'slipway-volume-driver-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const paths = { directory: join(folder, 'volumes'), runDirectory: join(folder, 'run') };
    mkdirSync(paths.directory);
    return { driver: new LocalVolumeDriver(paths), again: () => new LocalVolumeDriver(paths) };
  },
  false,
);
