import { readFileSync } from 'node:fs';
import { build, cache, image } from 'slipway/build';

type Group = { name: string; packages: string[] };

/** The first are the heaviest and change least: what is changed at the end of the list costs only what stands there. */
const groups: Group[] = JSON.parse(readFileSync(new URL('groups.json', import.meta.url), 'utf8'));

/** What apt downloads and knows of its archives stays outside of the image, for this build and all others. One apt at a time. */
const apt = ['/var/cache/apt', '/var/lib/apt/lists'].map((target) => cache(target, { id: `apt${target.replaceAll('/', '-')}`, sharing: 'locked' }));

/** Names the same packages in any order, so that only what is installed counts. */
function install({ packages }: Group): string {
  return [
    'set -e',
    // Lists that are fresh are not asked for again, and the cache keeps what was downloaded.
    'apt-get -q -o APT::Keep-Downloaded-Packages=true update',
    `apt-get -q -y -o APT::Keep-Downloaded-Packages=true install --no-install-recommends ${[...packages].sort().join(' ')}`,
    // Nothing of when this was done.
    'rm -rf /var/log/apt /var/log/dpkg.log /var/log/alternatives.log /var/cache/ldconfig /var/cache/debconf/*-old /var/lib/dpkg/*-old',
  ].join('\n');
}

export default build(({ args }) => {
  const base = image(args.BASE ?? 'debian:bookworm').env('DEBIAN_FRONTEND', 'noninteractive');
  // Another value installs everything anew, in the versions of the day.
  const dated = args.REFRESH === undefined ? base : base.env('REFRESH', args.REFRESH);
  const full = groups.reduce(
    (tree, group) => tree.run(install(group), { name: `install ${group.name}`, group: group.name, mounts: apt, retries: 2, timeoutMs: 1_800_000 }),
    dated,
  );
  return full.with({ Cmd: ['bash'], Labels: { groups: groups.map(({ name }) => name).join(' ') } });
});
