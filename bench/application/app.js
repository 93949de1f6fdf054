// The one line that the benches change.
export const version = 1;
