import type { VolumeResource } from '../../api-types/volume.ts';
import type { Volume } from '../../volumes/port.ts';
import { isoTime } from './time.ts';

/** How Docker marks volumes without a name of their own (API 1.42). */
const anonymousLabel = 'com.docker.volume.anonymous';

export function encodeVolume(volume: Volume, usage?: { Size: number; RefCount: number }): VolumeResource {
  const labels = volumeLabels(volume);
  return {
    CreatedAt: isoTime(volume.createdAtMs),
    Driver: volume.driver,
    Labels: Object.keys(labels).length > 0 ? labels : null,
    Mountpoint: volume.mountpoint,
    Name: volume.name,
    Options: Object.keys(volume.options).length > 0 ? volume.options : null,
    Scope: 'local',
    ...(volume.status === undefined ? {} : { Status: volume.status }),
    ...(usage === undefined ? {} : { UsageData: usage }),
  };
}

export function volumeLabels(volume: Volume): Record<string, string> {
  return volume.anonymous ? { ...volume.labels, [anonymousLabel]: '' } : volume.labels;
}
