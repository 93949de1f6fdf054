import { join } from 'node:path';
import { LocalNetworks } from '../../src/network/local-networks.ts';

/** Attaches and detaches containers without end, to be killed. Arguments: a folder and a root id. */
const [directory = '', rootId = ''] = process.argv.slice(2);
const networks = new LocalNetworks({
  directory: join(directory, 'networks'),
  runDirectory: join(directory, 'run'),
  rootId,
  aardvarkPath: '/usr/lib/podman/aardvark-dns',
});
await networks.recover();
process.stdout.write('ready\n');

async function churn(lane: number): Promise<void> {
  for (let i = 0; ; i++) {
    const id = `lane${lane}-${i}`;
    await using reserved = await networks.reserve([{ hostIp: '', hostPort: 0, containerPort: 80, protocol: 'tcp' }]);
    const name = { containerName: id, hostname: id };
    await networks.attach(id, [{ name: lane % 2 === 0 ? 'net' : 'bridge' }], reserved.bindings, name);
    if (lane % 2 === 0) await networks.connect(id, { name: 'bridge' }, name);
    if (i % 2 === 0) await networks.detach(id);
  }
}

await Promise.all([0, 1, 2, 3].map(churn));
