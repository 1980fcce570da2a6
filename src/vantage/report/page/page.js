"use strict";
// Texts of models and data are only ever assigned to textContent, never parsed as markup.
const { runs, pictures, held_out: heldOut } = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const groups = [...new Set(runs.map((run) => run.group))];
const state = { axis: "updates", hidden: new Set(), run: 0, sort: "trained", down: true, page: 0 };
const ROWS = 25;

// ---- helpers ------------------------------------------------------------------------

function make(tag, options = {}, ...children) {
  const { text, on, ...attributes } = options;
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  for (const [name, handler] of Object.entries(on ?? {})) made.addEventListener(name, handler);
  if (text !== undefined) made.textContent = visible(text);
  made.append(...children.map((child) => (typeof child === "string" ? visible(child) : child)));
  return made;
}

function draw(tag, attributes = {}, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = visible(text);
  return made;
}

// Invisible characters, and those that change the text direction, are shown by their code point.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cn}\p{Co}\p{Cs}\p{Zl}\p{Zp}\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\u{e0100}-\u{e01ef}]/gu;

function visible(text) {
  return String(text).replace(UNSEEN, (c) => {
    const code = c.codePointAt(0);
    if (c === "\n" || c === "\t") return c;
    return code < 0x20 ? String.fromCharCode(0x2400 + code) : `[U+${code.toString(16).toUpperCase().padStart(4, "0")}]`;
  });
}

const minus = (text) => text.replace("-", "\u2212");
const percent = (value) => `${Math.round(value * 1000) / 10} %`;
const short = (value) => {
  const size = Math.abs(value);
  const [over, unit] = size >= 1e9 ? [1e9, "G"] : size >= 1e6 ? [1e6, "M"] : size >= 1e4 ? [1e3, "k"] : [1, ""];
  return minus(`${+(value / over).toPrecision(3)}${unit}`);
};
const known = (value) => value !== null && value !== undefined;
const last = (values) => values[values.length - 1];
const colour = (group) => groups.indexOf(group) % 6;
const shown = () => groups.filter((group) => !state.hidden.has(group));
const first = (group) => runs.find((run) => run.group === group);
const signed = (value) => (known(value) ? minus(`${value > 0 ? "+" : ""}${value.toFixed(2)}`) : "–");

// ---- lines --------------------------------------------------------------------------

// Interpolates the runs of a group on one grid: mean, minimum and maximum where all have values.
function together(group, x, y) {
  const lines = runs.filter((run) => run.group === group)
    .map((run) => x(run).map((at, n) => [at, y(run)[n]]).filter(([at, value]) => known(at) && known(value)))
    .filter((line) => line.length);
  if (lines.length < 2) return { group, points: lines[0] ?? [], band: null };
  const from = Math.max(...lines.map((line) => line[0][0]));
  const to = Math.min(...lines.map((line) => last(line)[0]));
  const grid = [...new Set(lines[0].map(([at]) => at).concat(from, to))]
    .filter((at) => at >= from && at <= to).sort((a, b) => a - b);
  const values = grid.map((at) => lines.map((line) => between(line, at)));
  return {
    group,
    points: grid.map((at, n) => [at, values[n].reduce((a, b) => a + b, 0) / lines.length]),
    band: grid.map((at, n) => [at, Math.min(...values[n]), Math.max(...values[n])]),
  };
}

function between(line, at) {
  const after = line.findIndex(([x]) => x >= at);
  if (after <= 0) return line[Math.max(after, 0)][1];
  const [[x0, y0], [x1, y1]] = [line[after - 1], line[after]];
  return x1 === x0 ? y1 : y0 + ((at - x0) / (x1 - x0)) * (y1 - y0);
}

function smooth(values, width) {
  return values.map((_, n) => {
    const part = values.slice(Math.max(0, n - width + 1), n + 1).filter(known);
    return part.length ? part.reduce((a, b) => a + b, 0) / part.length : null;
  });
}

function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-6; at += step) found.push(+at.toPrecision(12));
  return found;
}

function chart(place, series, { form, zero = true, dots = false, top } = {}) {
  const { width, height } = place.getBoundingClientRect();
  const box = { left: 40, right: 8, top: 8, bottom: 20 };
  const all = series.flatMap((one) => one.points.concat((one.band ?? []).flatMap(([x, a, b]) => [[x, a], [x, b]])));
  place.replaceChildren();
  if (!all.length || width < 60) {
    place.append(make("p", { class: "note", text: all.length ? "" : "Nothing recorded." }));
    return;
  }
  const xs = all.map(([x]) => x), ys = all.map(([, y]) => y);
  const x0 = Math.min(0, Math.min(...xs)), x1 = Math.max(...xs) || 1;
  let y0 = zero ? 0 : Math.min(...ys), y1 = top ?? Math.max(...ys) * (zero ? 1.06 : 1);
  if (!zero) { const room = (y1 - y0) * 0.08 || 0.05; y0 = Math.max(0, y0 - room); y1 = Math.min(top ?? Infinity, y1 + room); }
  if (y1 <= y0) y1 = y0 + 1;
  const X = (x) => box.left + ((x - x0) / (x1 - x0 || 1)) * (width - box.left - box.right);
  const Y = (y) => height - box.bottom - ((y - y0) / (y1 - y0)) * (height - box.top - box.bottom);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "img" });
  svg.setAttribute("aria-label", visible(`${place.dataset.title ?? ""}: ${series.map((one) => `${first(one.group).label} ends at ${one.points.length ? form(last(one.points)[1]) : "nothing"}`).join("; ")}`));
  for (const y of ticks(y0, y1, height > 200 ? 5 : 3)) {
    svg.append(draw("line", { class: "gridline", x1: box.left, x2: width - box.right, y1: Y(y), y2: Y(y) }));
    svg.append(draw("text", { x: box.left - 6, y: Y(y) + 4, "text-anchor": "end" }, form(y)));
  }
  for (const x of ticks(x0, x1, width > 360 ? 6 : 3)) {
    svg.append(draw("text", { x: X(x), y: height - 5, "text-anchor": x === x0 ? "start" : X(x) > width - 30 ? "end" : "middle" }, short(x)));
  }
  for (const { group, points, band } of series) {
    if (band) {
      const edge = band.map(([x, low]) => `${X(x)},${Y(low)}`).concat([...band].reverse().map(([x, , high]) => `${X(x)},${Y(high)}`));
      svg.append(draw("polygon", { class: `band b${colour(group)}`, points: edge.join(" ") }));
    }
    svg.append(draw("polyline", { class: `line g${colour(group)}`, points: points.map(([x, y]) => `${X(x)},${Y(y)}`).join(" ") }));
    if (dots || points.length === 1) for (const [x, y] of points) svg.append(draw("circle", { class: `b${colour(group)}`, cx: X(x), cy: Y(y), r: 2.4 }));
  }
  place.append(svg);
  follow(svg, series, { X, x0, x1, width, height, box, form });
}

// A cursor that follows the pointer or the arrow keys, with the values at its position.
function follow(svg, series, { X, x0, x1, width, height, box, form }) {
  const line = draw("line", { class: "cursor", y1: box.top, y2: height - box.bottom, visibility: "hidden" });
  svg.append(line);
  const all = [...new Set(series.flatMap((one) => one.points.map(([x]) => x)))].sort((a, b) => a - b);
  let at = null;
  const show = (x) => {
    at = all.reduce((best, one) => (Math.abs(one - x) < Math.abs(best - x) ? one : best), all[0]);
    line.setAttribute("x1", X(at)); line.setAttribute("x2", X(at)); line.setAttribute("visibility", "visible");
    const rows = series.map((one) => {
      const near = one.points.reduce((best, point) => (!best || Math.abs(point[0] - at) < Math.abs(best[0] - at) ? point : best), null);
      return near && make("div", {}, make("span", { text: first(one.group).label }), make("b", { text: form(near[1]) }));
    }).filter(Boolean);
    const { left, top } = svg.getBoundingClientRect();
    tell([make("div", {}, make("span", { text: state.axis }), make("b", { text: short(at) })), ...rows], left + X(at), top + 10);
  };
  svg.addEventListener("pointermove", (event) => {
    const { left } = svg.getBoundingClientRect();
    show(x0 + ((event.clientX - left - box.left) / (width - box.left - box.right)) * (x1 - x0));
  });
  const hide = () => { line.setAttribute("visibility", "hidden"); $("tip").hidden = true; at = null; };
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!move) return;
    event.preventDefault();
    show(all[Math.min(all.length - 1, Math.max(0, at === null ? 0 : all.indexOf(at) + move))]);
  });
}

function tell(rows, x, y) {
  const tip = $("tip");
  tip.replaceChildren(...rows);
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${x + 14 + width > innerWidth ? Math.max(4, x - width - 14) : x + 14}px`;
  tip.style.top = `${Math.min(y, innerHeight - height - 8)}px`;
}

// ---- figures ------------------------------------------------------------------------

const SIGNALS = [
  ["silent_rollouts", "Silent rollouts", "Share of rollouts whose advantage is exactly 0.", percent, 1],
  ["silent_samples", "Silent samples", "Share of trained samples whose advantage is exactly 0.", percent, 1],
  ["all_correct", "All right", "Share of questions whose weighted rewards are all above 0.5.", percent, 1],
  ["all_incorrect", "All wrong", "Share of questions without a weighted reward above 0.5.", percent, 1],
  ["useful_share", "Useful rollouts", "Share of rollouts trained at least once with a nonzero advantage.", percent, 1],
  ["useful_per_second", "Useful rollouts per second", "Useful rollouts divided by the seconds of the rollout batch.", short],
  ["repeats", "Repeats", "Mean number of times that a distinct sample is trained in a batch.", short],
  ["contrast", "Contrast", "Mean difference of the advantages in a trained pair, 0 without pairs.", short],
];
const STAGES = [["generate", "generation"], ["reward", "rewards"], ["plan", "plan"], ["log_probs", "log-probs"], ["update", "updates"], ["rest", "rest"]];

function figures() {
  const along = (run) => run[state.axis];
  const lines = (y) => shown().map((group) => together(group, along, y));
  const held = shown().map((group) => together(group, (run) => run.heldout[state.axis] ?? run.heldout.batch, (run) => run.heldout.value));
  chart($("heldout"), held, { form: percent, zero: false, dots: true, top: accuracyTop() });
  chart($("accuracy"), lines((run) => smooth(run.accuracy, Math.ceil(10 / run.together))), { form: percent, zero: false, top: 1 });
  for (const [name, , , form, top] of SIGNALS) {
    chart($(`signal-${name}`), lines((run) => smooth(run.signal[name], Math.ceil(10 / run.together))), { form, top });
  }
  heat();
}

const accuracyTop = () => (runs.every((run) => run.heldout.measure !== "reward") ? 1 : undefined);

function heat() {
  $("heat").replaceChildren(...shown().map((group) => {
    const run = first(group);
    const part = (which, words) => make("div", {}, make("span", { text: words }), make("div", { class: "chart", "data-which": which }));
    const seeds = run.seeds > 1 ? `, seed ${run.seed}` : "";
    return make("figure", { "data-group": group },
      make("figcaption", {}, make("h3", { text: run.label + seeds })),
      make("div", { class: "pair" }, part("before", "rollouts, before the plan"), part("after", "samples, after the plan")));
  }));
  for (const place of $("heat").querySelectorAll(".chart")) {
    const run = first(Number(place.closest("figure").dataset.group));
    density(place, run, run.histogram[place.dataset.which]);
  }
}

function density(place, run, columns) {
  const { width, height } = place.getBoundingClientRect();
  const box = { left: 26, right: 4, top: 4, bottom: 18 };
  const bins = columns.length ? columns[0].length - 1 : 0;
  if (!bins || width < 60) return;
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  const zeros = columns.map((column) => column[0]);
  svg.setAttribute("aria-label", `|advantage| over time; exactly 0: ${percent(zeros[0])} first, ${percent(last(zeros))} last`);
  const w = (width - box.left - box.right) / columns.length;
  const zeroHeight = 14, gap = 3;
  const h = (height - box.top - box.bottom - zeroHeight - gap) / bins;
  const bottom = height - box.bottom;
  columns.forEach((column, n) => column.forEach((share, bin) => {
    if (!share) return;
    const y = bin ? bottom - zeroHeight - gap - bin * h : bottom - zeroHeight;
    svg.append(draw("rect", {
      class: "cell", x: box.left + n * w, y, width: w + 0.3, height: (bin ? h : zeroHeight) + 0.3,
      "fill-opacity": Math.min(1, Math.sqrt(share) * (bin ? 1.35 : 1)).toFixed(3),
    }));
  }));
  for (let mark = 1; mark <= run.histogram.most; mark++) {
    const y = bottom - zeroHeight - gap - (mark / run.histogram.most) * bins * h;
    svg.append(draw("text", { x: box.left - 6, y: y + 8, "text-anchor": "end" }, mark));
  }
  svg.append(draw("text", { x: box.left - 6, y: bottom - 3, "text-anchor": "end" }, "0"));
  svg.append(draw("text", { x: box.left, y: height - 4 }, `batch ${run.histogram.batch[0] + 1}`));
  svg.append(draw("text", { x: width - box.right, y: height - 4, "text-anchor": "end" }, run.histogram.last));
  svg.addEventListener("pointermove", (event) => {
    const { left, top } = svg.getBoundingClientRect();
    const n = Math.floor((event.clientX - left - box.left) / w);
    const up = bottom - (event.clientY - top);
    const bin = up <= zeroHeight + gap ? 0 : Math.ceil((up - zeroHeight - gap) / h);
    if (!columns[n] || bin < 0 || bin > bins) { $("tip").hidden = true; return; }
    const edge = (b) => (run.histogram.most / bins) * b;
    const words = bin === 0 ? "exactly 0" : `${edge(bin - 1).toFixed(2)} to ${bin === bins ? "more" : edge(bin).toFixed(2)}`;
    tell([make("div", { text: `from batch ${run.histogram.batch[n] + 1}` }), make("div", {}, make("span", { text: words }), make("b", { text: percent(columns[n][bin]) }))], event.clientX, event.clientY);
  });
  svg.addEventListener("pointerleave", () => { $("tip").hidden = true; });
  place.replaceChildren(svg);
}

function stages() {
  const most = Math.max(...runs.map((run) => Object.values(run.stages).reduce((a, b) => a + b, 0)));
  const rows = shown().map((group) => {
    const run = first(group);
    const whole = Object.values(run.stages).reduce((a, b) => a + b, 0);
    const track = make("div", { class: "track", role: "img" });
    const told = [];
    for (const [name, words] of STAGES) {
      const seconds = run.stages[name] ?? 0;
      const part = make("i", { class: `t-${name}`, title: `${visible(words)}: ${short(seconds)} s, ${percent(seconds / (whole || 1))}` });
      part.style.width = `${(100 * seconds) / (most || 1)}%`;
      track.append(part);
      told.push(`${words} ${short(seconds)} s`);
    }
    track.setAttribute("aria-label", visible(told.join(", ")));
    return make("div", { class: "stage" }, make("span", { text: run.label }), track, make("span", { class: "n", text: `${short(whole)} s` }));
  });
  const keys = make("div", { class: "keys" }, ...STAGES.map(([name, words]) => make("span", {}, make("i", { class: `t-${name}` }), words)));
  $("stages").replaceChildren(...rows, keys);
}

// ---- questions ----------------------------------------------------------------------

function rowsOf(run) {
  if (run.rows) return run.rows;
  const { row, text, batch, success, contrast, trained } = run.questions;
  run.rows = row.map((number, n) => {
    const told = success[n].filter(known);
    return {
      row: number, text: text[n], batches: batch[n], course: success[n], asked: batch[n].length,
      success: told.length ? last(told) : null,
      change: told.length ? last(told) - told[0] : null,
      contrast: contrast[n].filter(known).reduce((a, b) => a + b, 0) / (contrast[n].filter(known).length || 1),
      trained: trained[n].reduce((a, b) => a + b, 0),
      details: run.details[number],
    };
  });
  return run.rows;
}

const KINDS = {
  mixed: (one) => one.success > 0 && one.success < 1,
  right: (one) => one.success === 1,
  wrong: (one) => one.success === 0,
  up: (one) => one.change > 0,
  down: (one) => one.change < 0,
};

function wanted() {
  const words = $("find").value.trim().toLowerCase();
  const kind = KINDS[$("kind").value];
  const only = $("only").checked;
  const found = rowsOf(runs[state.run]).filter((one) =>
    (!only || one.details) && (!kind || (known(one.success) && kind(one))) &&
    (!words || String(one.row) === words || one.text.toLowerCase().includes(words)));
  const way = state.down ? -1 : 1;
  return found.sort((a, b) => {
    const [x, y] = [a[state.sort], b[state.sort]];
    if (known(x) !== known(y)) return known(x) ? -1 : 1;
    return (x < y ? -way : x > y ? way : 0) || a.row - b.row;
  });
}

function table() {
  const found = wanted();
  const pages = Math.max(1, Math.ceil(found.length / ROWS));
  state.page = Math.min(state.page, pages - 1);
  const part = found.slice(state.page * ROWS, (state.page + 1) * ROWS);
  $("table").tBodies[0].replaceChildren(...part.map(tableRow));
  for (const head of $("table").tHead.rows[0].cells) {
    if (head.dataset.key === state.sort) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
  $("before").disabled = state.page === 0;
  $("after").disabled = state.page >= pages - 1;
  const from = found.length ? state.page * ROWS + 1 : 0;
  $("where").textContent = `${from.toLocaleString("en")} to ${(state.page * ROWS + part.length).toLocaleString("en")} of ${found.length.toLocaleString("en")}`;
}

function tableRow(one) {
  const words = visible(one.text.replaceAll("<image>", "").trim()) || "text not in the record";
  const cell = one.details
    ? make("button", { class: "open", type: "button", dir: "auto", text: words, on: { click: () => open(one) } })
    : make("span", { dir: "auto", text: words });
  return make("tr", { "data-row": one.row },
    make("td", { class: "n", text: one.row }), make("td", {}, cell), make("td", { class: "n", text: one.asked }),
    make("td", {}, spark(one.course)), make("td", { class: "n", text: known(one.success) ? percent(one.success) : "–" }),
    make("td", { class: "n", text: one.contrast.toFixed(2) }), make("td", { class: "n", text: one.trained.toLocaleString("en") }));
}

function spark(course) {
  const svg = draw("svg", { class: "spark", viewBox: "0 0 110 20", role: "img", "aria-label": course.filter(known).map(percent).join(", ") });
  const points = course.map((value, n) => [3 + (n / Math.max(1, course.length - 1)) * 104, value]).filter(([, value]) => known(value)).map(([x, value]) => [x, 17 - value * 14]);
  if (points.length > 1) svg.append(draw("path", { d: `M${points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}` }));
  if (points.length) svg.append(draw("circle", { cx: last(points)[0], cy: last(points)[1], r: 2.2 }));
  return svg;
}

// ---- one question -------------------------------------------------------------------

let opened = null;

function open(one) {
  opened = { one, place: one.details.length - 1 };
  $("one-title").textContent = `Question ${one.row}`;
  if (!$("one").open) $("one").showModal();
  question();
  $("body").focus();
}

function step(by) {
  const place = opened.place + by;
  if (place < 0 || place >= opened.one.details.length) return;
  opened.place = place;
  question();
}

function question() {
  const { one, place } = opened;
  const asking = one.details[place];
  const times = one.details.length < one.asked ? ` of ${one.details.length} shown, ${one.asked} in all` : ` of ${one.asked}`;
  $("when").textContent = `batch ${asking.batch}, ${place + 1}${times}`;
  $("earlier").disabled = place === 0;
  $("later").disabled = place === one.details.length - 1;
  const several = asking.prompts.length > 1;
  const body = [
    make("h3", { text: several ? "Prompts" : "Prompt" }),
    make("div", { class: "variants" }, ...asking.prompts.map((prompt) => variant(prompt, asking.prompts[0], several))),
    ...pairs(asking),
    make("h3", { text: `Rollouts (${asking.rollouts.length})` }),
    ...asking.rollouts.map((_, n) => n).sort((a, b) => (asking.rollouts[b].numbers[0] ?? -Infinity) - (asking.rollouts[a].numbers[0] ?? -Infinity) || a - b)
      .map((n) => rollout(asking, n, several)),
  ];
  $("body").replaceChildren(...body);
  $("body").scrollTop = 0;
}

// Describes how a prompt differs from the first prompt of its question.
function done(prompt, original) {
  const changes = new Set(prompt.pictures.flatMap(([, changes]) => changes));
  if (!prompt.text.endsWith(original.text.replace(/^(<image>\s*)+/, ""))) changes.add("reworded");
  return [...changes].join(", ") || (prompt === original ? "" : "identical");
}

function variant(prompt, original, several) {
  const made = make("article", { class: "variant" });
  if (several) {
    made.append(make("header", {}, make("b", { text: `prompt ${prompt.variant + 1}` }), make("span", { text: done(prompt, original) })));
  }
  if (prompt.pictures.length) made.append(make("div", { class: "pictures" }, ...prompt.pictures.map(picture)));
  const said = (text) => make("div", { class: "said", dir: "auto", text });
  const tell = ([role, text]) => made.append(make("div", { class: "role", text: role }), said(text));
  prompt.earlier.forEach(tell);
  if (prompt.earlier.length || prompt.later.length) made.append(make("div", { class: "role", text: "user" }));
  made.append(said(prompt.text));
  prompt.later.forEach(tell);
  return made;
}

function picture([name, changes]) {
  const frame = make("div", { class: "frame" });
  if (!pictures[name]) return make("figure", {}, frame, make("figcaption", { text: name ? "image not on this page" : "image not in the record" }));
  const turns = changes.map((change) => change.split(" ")[0]);
  const image = make("img", { alt: "Image of the question", class: turns.filter((turn) => /^[a-z-]+$/.test(turn)).join(" ") });
  image.addEventListener("load", () => { if (Math.max(image.naturalWidth, image.naturalHeight) < 130) image.classList.add("small"); });
  image.src = pictures[name];
  frame.append(image);
  const noise = changes.filter((change) => change.startsWith("noise"));
  const told = noise.length ? [make("figcaption", { text: `${noise.join(", ")}, not shown here` })] : [];
  return make("figure", {}, frame, ...told);
}

function pairs(asking) {
  const found = new Map();
  for (const [rollout, prompt, advantage, pair, update] of asking.samples) {
    if (pair < 0) continue;
    const key = `${pair}`;
    if (!found.has(key)) found.set(key, { rollouts: new Map(), prompts: new Set(), updates: new Set(), rows: 0 });
    const one = found.get(key);
    one.rollouts.set(rollout, advantage);
    if (prompt >= 0) one.prompts.add(asking.prompts[prompt].variant + 1);
    one.updates.add(update + 1);
    one.rows++;
  }
  const several = asking.prompts.length > 1;
  if (!found.size) return [];
  const head = ["pair", "rollouts", "advantages", "drawn", ...(several ? ["prompts"] : []), "updates"];
  const rows = [...found].map(([id, one]) => {
    const [a, b] = [...one.rollouts].sort((x, y) => y[1] - x[1]);
    const cells = [id, b ? `${a[0] + 1} and ${b[0] + 1}` : `${a[0] + 1}`, b ? `${signed(a[1])} and ${signed(b[1])}` : signed(a[1]), `${one.rows / 2}×`,
      ...(several ? [[...one.prompts].sort().join(", ")] : []), [...one.updates].sort((x, y) => x - y).join(", ")];
    return make("tr", {}, ...cells.map((text) => make("td", { text })));
  });
  return [
    make("h3", { text: `Pairs drawn (${found.size})` }),
    make("div", { class: "wide" }, make("table", {}, make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col", text })))), make("tbody", {}, ...rows))),
  ];
}

function rollout(asking, n, several) {
  const { prompt, numbers, parts, counts, text } = asking.rollouts[n];
  const [reward, advantage, logProb] = numbers;
  const [trained, tokens] = counts;
  const line = make("div", { class: "facts" });
  const say = (name, value, kind) => line.append(make("span", {}, `${name} `, make("b", { class: kind, text: value })));
  const { by, above } = runs[state.run].right;
  const judged = parts[asking.parts.indexOf(by)] ?? reward;
  say("reward", known(reward) ? short(reward) : "none", known(reward) && known(judged) ? (judged > above ? "right" : "wrong") : undefined);
  if (asking.parts.length > 1) asking.parts.forEach((name, place) => say(name, known(parts[place]) ? short(parts[place]) : "none"));
  say("advantage", signed(advantage));
  line.append(meter(advantage ?? 0));
  const mine = asking.samples.filter(([rollout]) => rollout === n);
  const under = [...new Set(mine.map(([, place]) => place))].filter((place) => place >= 0).map((place) => asking.prompts[place].variant + 1).sort();
  if (trained) say("trained", `${trained}×`);
  else line.append(make("span", { class: "out", text: known(reward) ? "dropped" : "dropped: no score" }));
  const rest = [`rollout ${n + 1}`, `${tokens} tokens`];
  if (known(logProb)) rest.push(`mean log-prob ${minus(logProb.toFixed(2))}`);
  if (several) rest.push(`answers prompt ${asking.prompts[prompt].variant + 1}`);
  if (several && trained) rest.push(`trained under ${under.join(", ")}`);
  return make("article", { class: trained ? "rollout" : "rollout dropped" },
    line, make("pre", { dir: "auto", text: text || "(empty)" }), make("div", { class: "rest", text: rest.join(" · ") }));
}

function meter(advantage) {
  const made = make("i", { class: "meter", "aria-hidden": "true" });
  const bar = make("i", { class: advantage > 0 ? "plus" : "minus" });
  const share = Math.min(50, (Math.abs(advantage) / 3) * 50);
  bar.style.left = `${advantage > 0 ? 50 : 50 - share}%`;
  bar.style.width = `${share}%`;
  made.append(bar);
  return made;
}

// ---- start --------------------------------------------------------------------------

function legend() {
  $("legend").replaceChildren(...groups.map((group) => {
    const key = draw("svg", { width: 26, height: 10, "aria-hidden": "true" });
    key.append(draw("line", { class: `line g${colour(group)}`, x1: 0, x2: 26, y1: 5, y2: 5 }));
    const run = first(group);
    const words = run.seeds > 1 ? `${run.label}, ${run.seeds} seeds` : run.label;
    const toggle = () => {
      if (!state.hidden.delete(group)) state.hidden.add(group);
      legend(); figures(); stages();
    };
    return make("button", { type: "button", "aria-pressed": String(!state.hidden.has(group)), on: { click: toggle } }, key, make("span", { text: words }));
  }));
}

function theme() {
  const ways = ["system", "light", "dark"];
  let way = 0;
  $("theme").addEventListener("click", () => {
    way = (way + 1) % ways.length;
    $("theme").lastElementChild.textContent = ways[way];
    if (way) document.documentElement.dataset.theme = ways[way];
    else delete document.documentElement.dataset.theme;
  });
}

function listen() {
  for (const button of $("axis").children) {
    button.addEventListener("click", () => {
      state.axis = button.dataset.axis;
      for (const other of $("axis").children) other.setAttribute("aria-pressed", String(other === button));
      figures();
    });
  }
  const again = () => { state.page = 0; table(); };
  $("run").addEventListener("change", () => { state.run = Number($("run").value); again(); });
  for (const id of ["find", "kind", "only"]) $(id).addEventListener("input", again);
  for (const head of $("table").tHead.rows[0].cells) {
    head.firstElementChild.addEventListener("click", () => {
      state.down = state.sort === head.dataset.key ? !state.down : head.dataset.key !== "row" && head.dataset.key !== "text";
      state.sort = head.dataset.key;
      again();
    });
  }
  $("before").addEventListener("click", () => { state.page--; table(); });
  $("after").addEventListener("click", () => { state.page++; table(); });
  $("earlier").addEventListener("click", () => step(-1));
  $("later").addEventListener("click", () => step(1));
  $("close").addEventListener("click", () => $("one").close());
  $("one").addEventListener("keydown", (event) => {
    if (event.target.matches("input, select")) return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  $("table").addEventListener("keydown", (event) => {
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const buttons = [...$("table").querySelectorAll(".open")];
    const place = buttons.indexOf(document.activeElement);
    if (!move || place < 0) return;
    event.preventDefault();
    buttons[Math.min(buttons.length - 1, Math.max(0, place + move))].focus();
  });
  let waiting = 0;
  addEventListener("resize", () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(figures); });
}

$("signals").replaceChildren(...SIGNALS.map(([name, title, words]) =>
  make("figure", {}, make("figcaption", {}, make("h3", { text: title }), make("p", { text: words })), make("div", { class: "chart", id: `signal-${name}`, "data-title": title }))));
$("heldout").dataset.title = `Held-out ${visible(heldOut)}`;
$("accuracy").dataset.title = "Right rollouts in training";
$("run").replaceChildren(...runs.map((run, n) => make("option", { value: n, text: run.name })));
$("bands").hidden = runs.every((run) => run.seeds === 1);
theme();
legend();
listen();
figures();
stages();
table();
document.documentElement.dataset.ready = "yes";
