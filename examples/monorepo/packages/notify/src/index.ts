import type { Topic } from '@shop/events';
import { type Money, show } from '@shop/money';

export function announce(topic: Topic<{ id: string; price: Money }>, say: (text: string) => void): () => void {
  return topic.listen(({ id, price }) => say(`${id}: ${show(price)}`));
}
