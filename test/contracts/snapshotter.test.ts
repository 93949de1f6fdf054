import { ErofsOverlaySnapshotter } from '../../src/snapshot/drivers/erofs-overlay.ts';
import { HardlinkOverlaySnapshotter } from '../../src/snapshot/drivers/hardlink-overlay.ts';
import { snapshotterContract } from './snapshotter.ts';

snapshotterContract('erofs-overlay', (options) => new ErofsOverlaySnapshotter(options));
snapshotterContract('hardlink-overlay', (options) => new HardlinkOverlaySnapshotter(options));
