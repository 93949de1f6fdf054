import type { BuildDefinition, DefinitionStep } from '../../api-types/definition.ts';
import { EngineError } from '../../base/errors.ts';
import { suggestion } from '../../base/nearest.ts';

/** Ids of the steps whose trees a step needs: the one it stands on first, then those of its bind mounts, then those of its services. */
export function inputsOf(step: DefinitionStep): readonly string[] {
  switch (step.kind) {
    case 'copy':
      return [step.base, step.from];
    case 'mkdir':
      return [step.base];
    case 'run':
      return [
        step.base,
        ...(step.mounts ?? []).flatMap((mount) => (mount.kind === 'bind' ? [mount.from] : [])),
        ...(step.services ?? []).map(({ from }) => from),
      ];
    case 'merge':
      return step.trees;
    case 'difference':
      return [step.lower, step.upper];
    default:
      return [];
  }
}

/** The steps that the target needs, each after those it needs itself. InvalidArgument `STEP_NOT_FOUND`; `STEP_CYCLE` tells the circle. */
export function orderSteps({ steps, target }: BuildDefinition, name: string): DefinitionStep[] {
  const byId = new Map(steps.map((step) => [step.id, step]));
  const ordered: DefinitionStep[] = [];
  const state = new Map<string, 'open' | 'done'>();
  // With a stack of its own: a chain may be longer than the call stack is deep.
  const stack: { step: DefinitionStep; next: number }[] = [];
  const enter = (id: string, from: string) => {
    const step = byId.get(id);
    if (step === undefined) {
      throw new EngineError('InvalidArgument', 'STEP_NOT_FOUND', `${name}: ${from} names the step "${id}", which is not there`, {
        hint: suggestion(id, byId.keys()),
      });
    }
    if (state.get(id) === 'done') return;
    if (state.get(id) === 'open') throw cycle(name, [...stack.map((frame) => frame.step.id), id]);
    state.set(id, 'open');
    stack.push({ step, next: 0 });
  };
  enter(target, '"target"');
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    const input = inputsOf(top.step)[top.next++];
    if (input !== undefined) {
      enter(input, `the step "${top.step.id}"`);
      continue;
    }
    state.set(top.step.id, 'done');
    ordered.push(top.step);
    stack.pop();
  }
  return ordered;
}

function cycle(name: string, path: readonly string[]): EngineError {
  const circle = path.slice(path.indexOf(path.at(-1) ?? ''));
  return new EngineError(
    'InvalidArgument',
    'STEP_CYCLE',
    `${name}: steps need each other in a circle: ${circle.slice(0, 20).join(' -> ')}`,
    {
      hint: 'A step can only stand on steps that do not need it.',
    },
  );
}
