import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { bind, build, cache, context, image, merge, scratch, type Tree } from 'slipway/build';

type Manifest = {
  name: string;
  scripts: { build: string; test?: string };
  dependencies?: Record<string, string>;
  /** What has to run while its tests do. */
  services?: string[];
};
type Package = Manifest & { folder: string };

const here = new URL('./', import.meta.url);
const packages = ['packages', 'apps'].flatMap((parent) =>
  readdirSync(new URL(parent, here))
    .map((name) => `${parent}/${name}`)
    .filter((folder) => existsSync(new URL(`${folder}/package.json`, here)))
    .map((folder): Package => ({ ...JSON.parse(readFileSync(new URL(`${folder}/package.json`, here), 'utf8')), folder })),
);

/** Those of this repository that it needs, and what those need in turn. */
function needs({ dependencies = {} }: Package): Package[] {
  const direct = packages.filter(({ name }) => name in dependencies);
  return [...new Set([...direct, ...direct.flatMap(needs)])];
}

export default build(({ args, target }) => {
  const base = image(args.BASE ?? 'debian-node:bookworm').with({ WorkingDir: '/shop' });
  const sources = context();
  const npm = { mounts: [cache('/root/.npm')], retries: 2, timeoutMs: 600_000 };

  // One installation for all, of the manifests only: it is made again when one of them changes.
  const manifests = base.copy(sources, '/shop/', { exclude: ['*/*/*', '!*/*/package.json'] });
  const modules = manifests.run('npm ci --ignore-scripts --no-audit --no-fund', npm);
  const production = manifests.run('npm ci --ignore-scripts --no-audit --no-fund --omit=dev', npm);

  const options = (of: Package) => ({
    workingDir: `/shop/${of.folder}`,
    env: { PATH: '/shop/node_modules/.bin:/usr/local/bin:/usr/bin:/bin' },
    network: 'none' as const,
    // What others have made, and nothing else of them.
    mounts: needs(of).map((other) => bind(dist(other), `/shop/${other.folder}/dist`)),
  });

  /** A package's dist, made once, however many need it. */
  function dist(of: Package): Tree {
    const known = made.get(of);
    if (known !== undefined) return known;
    const built = modules
      .copy(sources, `/shop/${of.folder}/`, { paths: [of.folder], exclude: ['test'] })
      .run(of.scripts.build, { ...options(of), name: `build ${of.folder}` });
    const tree = scratch().copy(built, '/', { paths: [`/shop/${of.folder}/dist`] });
    made.set(of, tree);
    return tree;
  }
  const made = new Map<Package, Tree>();

  const services: Record<string, { url: string; args: string[] }> = {
    postgres: {
      url: 'postgres://postgres:postgres@postgres:5432/postgres',
      args: ['node', '/shop/node_modules/@electric-sql/pglite-socket/dist/scripts/server.js', '--host=0.0.0.0', '--port=5432', '--max-connections=10'],
    },
  };

  /** A line that there is only when the tests have passed. */
  function tested(of: Package): Tree {
    const own = options(of);
    const passed = modules.copy(sources, `/shop/${of.folder}/`, { paths: [of.folder] }).run(`${of.scripts.test} && echo passed > /passed`, {
      ...own,
      name: `test ${of.folder}`,
      mounts: [...own.mounts, bind(dist(of), `/shop/${of.folder}/dist`)],
      env: { ...own.env, ...((of.services ?? []).includes('postgres') ? { DATABASE_URL: services.postgres?.url ?? '' } : {}) },
      timeoutMs: 120_000,
      limits: { memoryBytes: 1 << 30 },
      services: (of.services ?? []).map((name) => ({
        name,
        from: modules,
        args: services[name]?.args ?? [],
        ready: { args: ['node', '-e', "require('node:net').connect(5432, '127.0.0.1').on('connect', () => process.exit(0))"], timeoutMs: 60_000 },
      })),
    });
    return scratch().copy(passed, `/shop/tested/${of.folder.replace('/', '-')}`, { paths: ['/passed'] });
  }

  const app = packages.find(({ folder }) => folder === `apps/${target === '' ? 'api' : target}`);
  if (app === undefined) throw new Error(`there is no application "${target}"`);
  // No application is built of anything whose tests do not pass.
  const parts = [app, ...needs(app)].filter(({ scripts }) => scripts.test !== undefined);
  return merge(production.copy(dist(app), `/shop/${app.folder}/dist/`), ...parts.map(tested)).with({
    Env: { SHOP_VERSION: args.VERSION ?? 'dev' },
    ExposedPorts: ['8080/tcp'],
    Cmd: ['node', `/shop/${app.folder}/dist/index.js`, 'serve'],
  });
});
