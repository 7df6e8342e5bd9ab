/**
 * The states of the page's panels: asked of the relay when there is news, and now and then.
 */

const EVERY = 5000;
/** Milliseconds between two questions, however much news there is. */
const LEAST = 500;

/** Asks `GET /panels`, one question at a time, none while the page is hidden. */
export class PagePanels {
  /**
   * @param {object} options
   * @param {(etag: string|null) => Promise<Response>} options.get
   * @param {(told: any) => void} options.take Takes an answer that is news.
   * @param {() => void} options.onProblem Called when the relay does not answer any more, or again.
   */
  constructor({ get, take, onProblem }) {
    this._get = get;
    this._take = take;
    this._onProblem = onProblem;
    /** The newest answer, an empty object before the first; and what is wrong with getting one, or "". */
    this.told = {};
    this.problem = "";
    /** When it was asked for what is known, by `performance.now()`: unchanged since then is news, too. */
    this.knownAt = -Infinity;
    this._etag = null;
    this._askedAt = -Infinity;
    this._isAsking = false;
    this._hasNews = false;
    this._timer = null;
  }

  /** Begin. */
  start() {
    setInterval(() => this.refresh(), EVERY);
    this.refresh();
  }

  /** Ask soon: something happened. */
  news() {
    if (document.hidden || this._timer !== null) return;
    const wait = Math.max(50, this._askedAt + LEAST - performance.now());
    this._timer = setTimeout(() => {
      this._timer = null;
      this.refresh();
    }, wait);
  }

  /** Ask now, unless that is being done, or nobody looks. */
  async refresh() {
    if (document.hidden) return;
    if (this._isAsking) {
      this._hasNews = true;
      return;
    }
    this._isAsking = true;
    this._hasNews = false;
    this._askedAt = performance.now();
    let problem = "";
    try {
      const answer = await this._get(this._etag);
      if (answer.status === 200) {
        const told = await answer.json();
        this._etag = answer.headers.get("ETag");
        this.told = told;
        if (told.is_whole === false) this._hasNews = true;
        this.knownAt = this._askedAt;
        this._take(told);
      } else if (answer.status === 304) {
        this.knownAt = this._askedAt;
      } else {
        problem = `The relay answered ${answer.status} when it was asked for the panels.`;
      }
    } catch {
      problem = "The relay does not answer.";
    } finally {
      this._isAsking = false;
    }
    if (problem !== this.problem) {
      this.problem = problem;
      this._onProblem();
    }
    if (this._hasNews) this.news();
  }
}
