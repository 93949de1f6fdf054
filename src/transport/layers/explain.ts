import type { KnownLayer } from '../../store/port.ts';
import { adaptiveLimits, type Option } from './adaptive.ts';
import type { PlannedLayer } from './port.ts';

export function explainLayers(layers: readonly PlannedLayer[], reasons: { kept: string; added: string }): string[] {
  return layers.map((layer, index) => {
    const place = `layer ${index + 1} of ${layers.length}`;
    if (layer.kind === 'new') return `${place}: new, ${sizeOf(layer)} (${layer.name}): ${reasons.added}`;
    return `${place}: kept, ${sizeOf(layer)}, ${showBytes(layer.layer.sizeBytes)} as ${shortDigest(layer.layer)}: ${reasons.kept}`;
  });
}

export function explainWaste({ deadBytes }: Option, liveBytes: number): string {
  const share = liveBytes === 0 ? 0 : Math.round((deadBytes / liveBytes) * 100);
  return `later layers replace or delete ${showBytes(deadBytes)} of earlier ones, ${share} % of what is in use; beyond ${adaptiveLimits.deadShare * 100} % layers are given up`;
}

export function explainFold(refused: Option, chosen: Option, layers: number): string {
  const why =
    refused.refusal === 'layers'
      ? `${refused.layers} layers would be more than ${adaptiveLimits.layers}`
      : `${showBytes(refused.deadBytes)} of them would be dead, more than ${adaptiveLimits.deadShare * 100} % of what is in use`;
  const what = chosen.kept === 0 ? 'all layers are made anew' : `layers ${chosen.kept + 1} to ${layers} are folded into the new one`;
  return `${what}: ${why}`;
}

export function showBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  for (; value >= 1000 && unit < units.length - 1; unit++) value /= 1000;
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

function sizeOf({ entries, bytes }: PlannedLayer): string {
  return `${showBytes(bytes)} in ${entries} ${entries === 1 ? 'entry' : 'entries'}`;
}

function shortDigest({ digest }: KnownLayer): string {
  return digest.slice(0, 'sha256:'.length + 12);
}
