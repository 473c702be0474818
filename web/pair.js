/** Two videos of the same frames, played as one: the second follows the first. */

import { el } from "./dom.js";

const USUAL_RATE = 25;

/** Plays `after` (which has the sound) with `before` beside it; `onTick()` whenever something to be shown has changed. `playing` is what is wanted. */
export class Pair {
  constructor(onTick, onFail) {
    const make = (name) => el("video", { class: name, playsinline: "", preload: "auto" });
    Object.assign(this, { after: make("dva-after"), before: make("dva-before"), rate: USUAL_RATE, loop: true, playing: false, onTick });
    this.before.muted = true;
    for (const video of [this.before, this.after]) {
      video.addEventListener("error", () => video.getAttribute("src") && onFail());
      video.addEventListener("loadeddata", onTick);
    }
    // the browser pauses by itself: at the end, shortly before "ended", and for reasons of its own
    this.after.addEventListener("pause", () => this.after.paused && !this.after.ended && (this.playing = false));
    this.after.addEventListener("ended", () => (this.playing && this.loop ? (this.seek(0), this.play()) : (this.playing = false)));
    for (const event of ["play", "pause", "seeked", "timeupdate", "ended"]) this.after.addEventListener(event, () => (this.follow(), onTick()));
  }

  open(before, after, rate) {
    this.release();
    this.rate = rate > 0 ? rate : USUAL_RATE;
    this.before.src = before;
    this.after.src = after;
  }

  /** Lets the browser forget both files and their decoders. */
  release() {
    this.playing = false;
    for (const video of [this.before, this.after]) {
      video.pause();
      video.removeAttribute("src");
      video.load();
    }
  }

  get loaded() {
    return Math.min(this.before.readyState, this.after.readyState) >= HTMLMediaElement.HAVE_CURRENT_DATA;
  }

  get duration() {
    return Number.isFinite(this.after.duration) ? this.after.duration : 0;
  }

  get frame() {
    return Math.min(Math.floor(this.after.currentTime * this.rate + 1e-3), Math.max(0, this.frames - 1));
  }

  get frames() {
    return Math.round(this.duration * this.rate);
  }

  play() {
    this.playing = true;
    this.onTick();
    if (this.after.ended) this.seek(0);
    this.before.currentTime = this.after.currentTime;
    return Promise.all([this.before.play(), this.after.play()]).catch((error) => error.name !== "AbortError" && this.pause()); // the browser may refuse sound
  }

  pause() {
    this.playing = false;
    this.before.pause();
    this.after.pause();
    this.before.currentTime = this.after.currentTime;
    this.onTick();
  }

  seek(seconds) {
    for (const video of [this.after, this.before]) video.currentTime = Math.max(0, Math.min(seconds, this.duration));
    this.onTick();
  }

  /** To a frame's middle, since its edges belong to either neighbour after rounding. */
  step(count) {
    this.pause();
    const frame = Math.max(0, Math.min(this.frame + count, this.frames - 1));
    this.seek((frame + 0.5) / this.rate);
  }

  /** The second video back beside the first: always when that stands still, else where they are half a frame apart. */
  follow() {
    const apart = Math.abs(this.before.currentTime - this.after.currentTime);
    if (this.after.paused !== this.before.paused) this.after.paused ? this.before.pause() : this.before.play().catch(() => {});
    if (apart > (this.after.paused ? 1e-4 : 1 / this.rate)) this.before.currentTime = this.after.currentTime;
  }
}
