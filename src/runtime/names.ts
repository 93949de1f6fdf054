import { randomInt } from 'node:crypto';
import { EngineError } from '../base/errors.ts';

const pattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;

/** Docker's rule. InvalidArgument `NAME_INVALID`. */
export function checkName(name: string): string {
  if (pattern.test(name) && name.length <= 255) return name;
  throw new EngineError(
    'InvalidArgument',
    'NAME_INVALID',
    `Invalid container name (${name.slice(0, 300)}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`,
    {
      hint: 'A name has 2 to 255 characters.',
    },
  );
}

const adjectives =
  'able amber ample apt azure bold brave bright brisk calm clear clever cool coral crisp deft eager early even fair fine firm fleet fond frank free fresh gentle glad golden grand green hale handy happy hardy jolly keen kind lively loyal lucid lucky mellow merry mild misty neat nimble noble open patient plain prime proud quick quiet rapid ready sharp silver smart solid sound spry steady still stout sunny swift tidy true vivid warm wise witty'.split(
    ' ',
  );
const nouns =
  'anchor anvil bay beacon bell berth bow breeze bridge buoy cabin canal capstan channel clipper compass coral cove current cutter deck delta dinghy dock drift ebb eddy estuary ferry fjord fleet galley gannet gull harbor haven heron hull inlet island jetty kayak keel ketch kittiwake lagoon lantern ledge lighthouse lock marina mast moor narwhal oar osprey otter pelican pier pilot plover pontoon port puffin quay raft reef rigging rudder sail sandbar schooner sextant shoal shore sloop spar strait swell tern tide tiller topsail tug voyage wake wave wharf yawl'.split(
    ' ',
  );

/** `swift_otter`; with `taken`, when that one is in use, a number more. */
export function randomName(taken?: string): string {
  const pick = (words: string[]) => words[randomInt(words.length)] ?? '';
  const name = `${pick(adjectives)}_${pick(nouns)}`;
  return taken === undefined ? name : `${name}${randomInt(10)}`;
}
