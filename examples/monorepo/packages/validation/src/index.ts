export class Invalid extends Error {
  readonly statusCode = 400;
}

export function text(value: unknown, what: string): string {
  if (typeof value !== 'string' || value.trim() === '') throw new Invalid(`${what} has to be a text`);
  return value.trim();
}

export function count(value: unknown, what: string): number {
  if (!Number.isSafeInteger(value) || Number(value) < 1) throw new Invalid(`${what} has to be a whole number from 1`);
  return Number(value);
}
