/** Calls between a page and its workers: numbered questions, answers, and news that nobody asked for. */

type Question = { call: number; op: string; args: unknown[] };
type Answer = { answer: number; value?: unknown; error?: string };
type News = { news: string; value: unknown };

/** What both ends of a channel can do: a `Worker`, or a worker's own global scope. */
export interface Port {
  postMessage(message: unknown, transfer: Transferable[]): void;
  addEventListener(type: "message", listener: (event: MessageEvent) => void): void;
}

/** The most questions that may wait at once. */
const WAITING_MAX = 4_096;

/** The asking end. */
export class Asking {
  #port: Port;
  #next = 0;
  #waiting = new Map<number, { done: (value: unknown) => void; failed: (error: Error) => void }>();
  /** Called with news of the other end. */
  onnews: (news: string, value: unknown) => void = () => {};

  constructor(port: Port) {
    this.#port = port;
    port.addEventListener("message", (event: MessageEvent<Answer | News>) => {
      const said = event.data;
      if ("news" in said) {
        this.onnews(said.news, said.value);
        return;
      }
      const waiting = this.#waiting.get(said.answer);
      this.#waiting.delete(said.answer);
      if (said.error === undefined) waiting?.done(said.value);
      else waiting?.failed(new Error(said.error));
    });
  }

  /** Asks, and gives up what is transferred. */
  ask<T>(op: string, args: unknown[] = [], transfer: Transferable[] = []): Promise<T> {
    if (this.#waiting.size >= WAITING_MAX) {
      return Promise.reject(new Error(`refused: ${WAITING_MAX} calls wait already: try again`));
    }
    const call = ++this.#next;
    return new Promise<unknown>((done, failed) => {
      this.#waiting.set(call, { done, failed });
      const question: Question = { call, op, args };
      try {
        this.#port.postMessage(question, transfer);
      } catch (error) {
        // What cannot be sent, a detached array or a function, is never answered.
        this.#waiting.delete(call);
        failed(new Error(`invalid: an argument cannot be sent to a worker: ${reason(error)}`));
      }
    }) as Promise<T>;
  }

  /** Ends every question without an answer: the other end is gone. */
  end(why: string): void {
    for (const waiting of this.#waiting.values()) waiting.failed(new Error(why));
    this.#waiting.clear();
  }
}

/** What an error says. */
export function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Answers questions by the functions of `service`; `worded` may say errors in other words. */
export function answering(
  port: Port, service: Record<string, (...args: never[]) => unknown>, worded = (text: string) => text,
): void {
  port.addEventListener("message", (event: MessageEvent<Question>) => {
    const { call, op, args } = event.data;
    void (async () => {
      let said: Answer;
      try {
        const does = Object.hasOwn(service, op) ? service[op] : undefined;
        if (does === undefined) throw new Error(`invalid: there is no call ${op}`);
        said = { answer: call, value: await does(...(args as never[])) };
      } catch (error) {
        said = { answer: call, error: worded(reason(error)) };
      }
      port.postMessage(said, []);
    })();
  });
}

/** Tells news. */
export function tell(port: Port, news: string, value: unknown): void {
  const said: News = { news, value };
  port.postMessage(said, []);
}
