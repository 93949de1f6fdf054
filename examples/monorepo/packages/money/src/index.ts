/** An amount in the smallest unit of its currency. */
export type Money = { readonly units: number; readonly currency: string };

export function money(units: number, currency: string): Money {
  if (!Number.isSafeInteger(units)) throw new RangeError(`${units} is no whole number of units`);
  return { units, currency };
}

export function add(one: Money, other: Money): Money {
  if (one.currency !== other.currency) throw new TypeError(`${one.currency} and ${other.currency} do not add up`);
  return money(one.units + other.units, one.currency);
}

export function times(amount: Money, factor: number): Money {
  return money(Math.round(amount.units * factor), amount.currency);
}

export function show({ units, currency }: Money): string {
  return `${(units / 100).toFixed(2)} ${currency}`;
}
