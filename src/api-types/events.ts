/** One line of GET /events. `time` in seconds; `timeNano` is a 64-bit integer, which JSON.parse rounds. */
export type EventMessage = {
  status?: string;
  id?: string;
  from?: string;
  Type: 'container' | 'image' | 'network' | 'volume' | 'daemon' | 'builder';
  Action: string;
  Actor: { ID: string; Attributes: Record<string, string> };
  scope: 'local';
  time: number;
  timeNano: number;
};
