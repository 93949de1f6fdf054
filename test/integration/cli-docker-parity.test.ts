import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { newDocker, oldDocker } from '../clients/support.ts';
import { FakeDaemon, finished, type Received } from './cli-fake-daemon.ts';

/** The newest docker command line here: what it sends is what ours should send. */
const docker = [newDocker, oldDocker].find(({ path }) => existsSync(path));
const major = Number(/\d+/.exec(docker?.name ?? '0'));
const skip = docker === undefined && 'needs a docker command line';

async function start(): Promise<FakeDaemon> {
  const daemon = await FakeDaemon.start();
  for (const method of ['GET', 'HEAD']) {
    daemon.on(`${method} /_ping`, (_request, response) => response.writeHead(200, { 'Api-Version': '1.50', Ostype: 'linux' }).end('OK'));
  }
  return daemon;
}

/** What neither says is the same as what one of them says is empty. */
function compact(value: unknown): unknown {
  if (Array.isArray(value)) return value.length === 0 || value.every((each) => each === 0) ? undefined : value.map(compact);
  if (typeof value !== 'object' || value === null)
    return value === null || value === '' || value === 0 || value === false ? undefined : value;
  const entries = Object.entries(value).flatMap(([name, each]) => {
    const inner = compact(each);
    return inner === undefined ? [] : [[name, inner] as const];
  });
  return entries.length === 0 ? undefined : Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

type Sent = { path: string; query: Record<string, string>; body: unknown };

function sent({ method, path, query, body }: Received): Sent {
  return {
    path: `${method} ${path}`,
    query: Object.fromEntries(
      [...query]
        .filter(([, value]) => value !== '' && value !== '0')
        .map(([name, value]) => [name, value === 'true' ? '1' : value])
        .sort(),
    ),
    body: body.length === 0 ? undefined : compact(forget(JSON.parse(body.toString()) as Record<string, unknown>)),
  };
}

/** What Docker's command line says without being asked. */
function forget(body: Record<string, unknown>): unknown {
  const host = body.HostConfig as Record<string, unknown> | undefined;
  if (host?.MemorySwappiness === -1) delete host.MemorySwappiness;
  const policy = (host ?? body).RestartPolicy as { Name?: string } | undefined;
  if (policy?.Name === 'no') policy.Name = '';
  (body.Env as string[] | null | undefined)?.sort();
  (body.IPAM as { Config?: { Subnet: string }[] } | undefined)?.Config?.sort((a, b) => (a.Subnet < b.Subnet ? -1 : 1));
  // Left out by newer ones, which know that kernels have no such limit any more; ours leaves it to the daemon to say so.
  if (host !== undefined) delete host.KernelMemory;
  const ulimits = host?.Ulimits as { Name: string }[] | null | undefined;
  ulimits?.sort((a, b) => (a.Name < b.Name ? -1 : 1));
  (host?.Binds as string[] | null | undefined)?.sort();
  for (const list of [host?.CapAdd, host?.CapDrop] as (string[] | null | undefined)[]) {
    for (const [at, name] of list?.entries() ?? []) if (list) list[at] = name.replace(/^CAP_/, '');
  }
  // A field that the daemon takes from the network's settings since 1.44.
  delete body.MacAddress;
  delete body.OnBuild;
  delete body.CheckDuplicate;
  return body;
}

async function compare(argv: readonly string[], prepare: (daemon: FakeDaemon) => void): Promise<void> {
  await using daemon = await start();
  prepare(daemon);
  const theirs = await finished(
    spawn(docker?.path ?? 'docker', ['-H', `unix://${daemon.socketPath}`, ...argv], {
      cwd: daemon.folder,
      env: { PATH: process.env.PATH ?? '', HOME: daemon.folder, A: 'from the environment' },
      stdio: ['ignore', 'pipe', 'pipe'],
    }),
  );
  assert.equal(theirs.status, 0, theirs.stderr);
  const fromDocker = daemon.requests.filter((request) => request.path !== '/_ping').map(sent);
  daemon.requests.length = 0;
  const ours = await daemon.run(argv, { env: { A: 'from the environment' } });
  assert.equal(ours.status, 0, ours.stderr);
  assert.deepEqual(daemon.requests.map(sent), fromDocker, argv.join(' '));
}

/** The version of docker that first took such flags, flags with spaces between, and words that have some. */
const creates: [since: number, flags: string, ...words: string[]][] = [
  [0, ''],
  [0, '-it --rm --name web -e A -e B=2 -e NONE -l x=y -w /srv -u 1:2 -h host --domainname d'],
  [0, '-p 8080:80 -p 127.0.0.1:5000-5002:5000-5002/udp -p [::1]:53:53 -p 9000-9010:90 -P --expose 7-8/tcp'],
  [0, '-v /a:/b:ro,z -v data:/d -v /anon --volumes-from x:ro --volume-driver local --tmpfs /t:size=1m'],
  [0, '--mount type=bind,src=/a,dst=/b,readonly,bind-propagation=rslave --mount type=volume,src=v,dst=/v,volume-nocopy,volume-opt=a=b'],
  [0, '--mount type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770 --mount type=bind,source=/a,target=/n,bind-nonrecursive=true'],
  [23, '--mount type=bind,src=/a,dst=/b,bind-recursive=disabled --mount type=volume,src=v,dst=/v,volume-subpath=x/y,volume-driver=d'],
  [28, '--mount type=image,src=img,dst=/i,image-subpath=etc --mount type=bind,src=/a,dst=/b,ro,bind-recursive=writable'],
  [0, '-m 512m --memory-swap -1 --memory-reservation 256M --memory-swappiness 10 --kernel-memory 64m --oom-kill-disable'],
  [0, '--cpus 1.5 -c 512 --cpuset-cpus 0-1 --cpuset-mems 0 --cpu-rt-period 1000 --cpu-rt-runtime 500'],
  [0, '--cpu-period 10000 --cpu-quota 5000 --pids-limit 100 --oom-score-adj 500 --shm-size 1g --cgroup-parent /x'],
  [0, '--blkio-weight 300 --blkio-weight-device /dev/sda:200', '--device-cgroup-rule', 'c 42:* rmw'],
  // Docker 26 takes these and sends nothing.
  [28, '--device-read-bps /dev/sda:1mb --device-write-bps /dev/sdb:2kb --device-read-iops /dev/sda:100 --device-write-iops /dev/sda:200'],
  [0, '--device /dev/fuse --device /dev/zero:/dev/null:r --device /dev/full:rw'],
  [25, '--device vendor.com/gpu=all'],
  [0, '--gpus all'],
  [0, '--gpus 2'],
  [0, '--gpus "device=0,2",driver=nvidia,"capabilities=compute,utility","options=a=b,c=d"'],
  [0, '--cap-add NET_ADMIN --cap-drop ALL --privileged --read-only --group-add audio --init --runtime crun'],
  [0, '--security-opt no-new-privileges:true --security-opt seccomp=profile.json --security-opt label=disable'],
  [0, '--security-opt seccomp=unconfined --security-opt apparmor=x --security-opt systempaths=unconfined'],
  [0, '--pid host --ipc shareable --uts host --userns host --isolation default --cgroupns private'],
  [0, '--sysctl net.core.somaxconn=1 --ulimit nofile=5:6 --ulimit core=-1 --storage-opt size=1G --stop-signal SIGINT'],
  [0, '--stop-timeout 5 --restart on-failure:3 --log-driver local --log-opt max-size=1m --entrypoint sh'],
  [23, '--annotation a=b --annotation c=d'],
  [0, '--health-cmd true --health-interval 1m30s --health-retries 3 --health-timeout 2s --health-start-period 5s'],
  [25, '--health-cmd true --health-start-interval 1s'],
  [0, '--no-healthcheck --dns 1.1.1.1 --dns-option ndots:1 --dns-search x.org --add-host a:1.2.3.4 --add-host g:host-gateway'],
  [0, '--network app --network-alias db --ip 10.0.0.7 --ip6 fd00::7 --link-local-ip 169.254.1.1 --link a:b'],
  [0, '--network name=app,alias=x,driver-opt=a=b'],
  [28, '--network name=app,ip=10.0.0.7,ip6=fd00::7,mac-address=02:42:ac:11:00:02,gw-priority=5 --network other'],
  [0, '--link db --link a/b:c'],
  [0, '--network container:web'],
  [25, '--mac-address 02:42:ac:11:00:02 --network app'],
  [0, '--label-file labels --env-file env -a stdout -i'],
];
for (const [since, flags, ...words] of creates) {
  const argv = [...flags.split(' ').filter((word) => word !== ''), ...words];
  if (docker !== undefined && major < since) continue;
  test(`create ${argv.join(' ')} sends what docker sends`, { skip }, async () => {
    const prepare = (daemon: FakeDaemon) => {
      writeFileSync(join(daemon.folder, 'profile.json'), '{\n  "defaultAction": "SCMP_ACT_ALLOW"\n}\n');
      writeFileSync(join(daemon.folder, 'labels'), '# comment\ntier=db\nonly\n');
      writeFileSync(join(daemon.folder, 'env'), 'X=1\nA\nMISSING\n');
      daemon.onJson('POST /containers/create', 201, { Id: 'ab'.repeat(32), Warnings: [] });
    };
    await compare(['create', ...argv, 'img', 'cmd', '-x'], prepare);
  });
}

const made = { Id: 'cd'.repeat(32), Warning: '' };
const others: [since: number, words: string, route: string, status: number, answer: unknown][] = [
  [0, 'network create app', 'POST /networks/create', 201, made],
  [
    0,
    'network create -d bridge --internal --attachable --label a=b -o com.docker.network.bridge.name=br9 app',
    'POST /networks/create',
    201,
    made,
  ],
  [
    0,
    'network create --ipv6 --subnet 10.5.0.0/16 --subnet fd00:5::/64 --gateway 10.5.0.254 --gateway fd00:5::1 --ip-range 10.5.7.0/24 --aux-address printer=10.5.7.9 --ipam-driver default --ipam-opt a=b app',
    'POST /networks/create',
    201,
    made,
  ],
  [28, 'network create --ipv4=false --ipv6 app', 'POST /networks/create', 201, made],
  [0, 'network connect app web', 'POST /networks/app/connect', 200, {}],
  [
    0,
    'network connect --alias db --alias x --ip 10.5.0.7 --ip6 fd00:5::7 --link a:b --link-local-ip 169.254.1.1 --driver-opt a=b app web',
    'POST /networks/app/connect',
    200,
    {},
  ],
  [28, 'network connect --gw-priority 5 app web', 'POST /networks/app/connect', 200, {}],
  [0, 'network disconnect -f app web', 'POST /networks/app/disconnect', 200, {}],
  [0, 'update --cpus 1.5 -m 1g --memory-swap -1 --pids-limit 7 web', 'POST /containers/web/update', 200, { Warnings: null }],
  [
    0,
    'update --blkio-weight 100 --cpu-period 1000 --cpu-quota 500 --cpu-shares 5 --cpuset-cpus 0 --cpuset-mems 0 --memory-reservation 1m --restart on-failure:3 --cpu-rt-period 9 --cpu-rt-runtime 8 web',
    'POST /containers/web/update',
    200,
    { Warnings: null },
  ],
  [0, 'volume create -d local --label a=b -o type=tmpfs -o device=tmpfs v', 'POST /volumes/create', 201, { Name: 'v' }],
  [0, 'rename web other', 'POST /containers/web/rename', 204, undefined],
  [0, 'kill -s HUP web', 'POST /containers/web/kill', 204, undefined],
  [0, 'stop -t 3 web', 'POST /containers/web/stop', 204, undefined],
  [0, 'rm -f -v web', 'DELETE /containers/web', 204, undefined],
];
for (const [since, words, route, status, answer] of others) {
  if (docker !== undefined && major < since) continue;
  test(`${words} sends what docker sends`, { skip }, async () => {
    await compare(words.split(' '), (daemon) => daemon.onJson(route, status, answer));
  });
}
