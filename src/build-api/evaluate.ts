import { registerHooks } from 'node:module';
import { pathToFileURL } from 'node:url';
import { type BuildInput, Tree } from './index.ts';

/**
 * Evaluates a module that describes a build: `evaluate.mjs MODULE INPUT`, INPUT being `BuildInput` as JSON. Writes the definition as JSON to standard output; what the module itself
 * prints goes to standard error. Started without the right to write files, start processes or use the network (Node's permission model), because describing needs none of it.
 */
const [path = '', input = '{}'] = process.argv.slice(2);
const own = new URL(import.meta.url.endsWith('.ts') ? './index.ts' : './build-api.mjs', import.meta.url).href;

registerHooks({
  resolve: (specifier, context, next) => (specifier === 'slipway/build' ? { url: own, shortCircuit: true } : next(specifier, context)),
});
const print = process.stdout.write.bind(process.stdout);
process.stdout.write = process.stderr.write.bind(process.stderr) as typeof process.stdout.write;

// Signals are the one thing that the permission model leaves to it.
for (const name of ['kill', '_kill']) {
  Object.defineProperty(process, name, {
    value: () => {
      throw Object.assign(new Error('a build definition only describes: it sends no signals'), { code: 'ERR_ACCESS_DENIED' });
    },
  });
}

const module = (await import(pathToFileURL(path).href)) as { default?: unknown };
const described = typeof module.default === 'function' ? await module.default(JSON.parse(input) as BuildInput) : module.default;
// The module's own copy of the class: this file and build-api.mjs share it.
if (!(described instanceof Tree)) throw new TypeError('the default export gives no tree: export default build(() => image(…).run(…))');
print(`${JSON.stringify(described.definition())}\n`);
