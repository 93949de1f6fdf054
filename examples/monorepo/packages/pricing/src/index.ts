import { type Money, times } from '@shop/money';

const discountFrom = 10;
const discount = 0.1;

/** Ten and more of a thing cost less. */
export function priceOf(price: Money, quantity: number): Money {
  return times(price, quantity * (quantity >= discountFrom ? 1 - discount : 1));
}
