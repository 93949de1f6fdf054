type Listener<E> = (event: E) => void;

/** Tells whoever listens, in the order in which they came. */
export class Topic<E> {
  readonly #listeners = new Set<Listener<E>>();

  listen(listener: Listener<E>): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  tell(event: E): void {
    for (const listener of this.#listeners) listener(event);
  }
}
