import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CniDriver } from '../../src/network/drivers/cni.ts';
import { WireDriver } from '../../src/network/drivers/wire.ts';
import { openNetworks, shell } from '../integration/network-harness.ts';
import { machine, ownHost } from '../integration/network-own-host.ts';
import { type NetworkDriverCase, networkDriverContract } from './network-driver.ts';

const outside = await ownHost(import.meta.url);
const plugins = '/usr/lib/cni';

const bridge: NetworkDriverCase = {
  name: 'bridge',
  publishes: true,
  async open(t) {
    const engine = await openNetworks(t);
    return { engine, network: await engine.networks.create({ name: 'net' }) };
  },
};

const cni: NetworkDriverCase = {
  name: 'cni',
  publishes: true,
  async open(t) {
    const configDirectory = await mkdtemp(join(tmpdir(), 'slipway-cni-'));
    const ipam = {
      type: 'host-local',
      dataDir: join(configDirectory, 'leases'),
      ranges: [[{ subnet: '10.254.77.0/24' }]],
      routes: [{ dst: '0.0.0.0/0' }],
    };
    const list = {
      cniVersion: '1.0.0',
      name: 'net',
      plugins: [
        { type: 'bridge', bridge: 'cni-slipway', isGateway: true, ipMasq: true, hairpinMode: true, ipam },
        { type: 'portmap', capabilities: { portMappings: true } },
      ],
    };
    await writeFile(join(configDirectory, 'net.conflist'), JSON.stringify(list));
    const log: string[] = [];
    const driver = new CniDriver({ configDirectory, pluginDirectories: [plugins], log: (message) => log.push(message) });
    const engine = await openNetworks(t, { drivers: new Map([['cni', driver]]) });
    // After the networks, whose end still writes to it.
    t.after(() => rm(configDirectory, { recursive: true }));
    return { engine, network: await engine.networks.create({ name: 'net', driver: 'cni' }) };
  },
};

const macvlan: NetworkDriverCase = {
  name: 'macvlan',
  publishes: false,
  async open(t) {
    const engine = await openNetworks(t, { drivers: new Map([['macvlan', new WireDriver('macvlan')]]) });
    const subnets = [{ subnet: '198.51.100.0/24', gateway: machine.ipv4, range: '198.51.100.128/25' }];
    return { engine, network: await engine.networks.create({ name: 'net', driver: 'macvlan', subnets, options: { parent: 'up0' } }) };
  },
};

if (outside !== undefined) {
  networkDriverContract(bridge, outside);
  // In CI they are there: packaging/debian-packages-test.txt.
  if (existsSync(plugins)) networkDriverContract(cni, outside);
  if ((await shell('ip link add probe0 link up0 type macvlan && ip link delete probe0 && echo yes')) === 'yes')
    networkDriverContract(macvlan, outside);
}
