"use strict";
// The page that completes crystals. Whatever comes from a file is set as text, never as markup.

const told = JSON.parse(document.getElementById("told").textContent);
const FIELDS = ["allowed", "exclude", "required", "formula", "charge", "tie", "top"];
const SHOWN = 0.9; // coverage of the sets that bars show
const UNCALIBRATED = "The probabilities are the model's own, not calibrated.";
const LEAST = 0.001; // odds from which on a bar is drawn
const page = { crystals: [], crystal: null, masked: new Set(), answer: null, asked: null, chosen: 0, token: "" };
const $ = (id) => document.getElementById(id);

// Making elements

function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties))
    if (name.startsWith("aria-") || name === "role" || name === "for") made.setAttribute(name, value);
    else made[name] = value;
  made.append(...children);
  return made;
}

const list = (id, texts) => $(id).replaceChildren(...texts.map((text) => make("li", {}, text)));

function dot(symbol) {
  const made = make("span", { className: "dot" });
  made.style.background = told.elements[symbol][0];
  return made;
}

/** A formula's pieces, its numbers as subscripts. */
const subscripted = (formula) => formula.split(/(\d+)/).filter(Boolean).map((part) => (/\d/.test(part) ? make("sub", {}, part) : part));

function percent(share) {
  if (share < 0.001) return "< 0.1 %";
  return share > 0.999 && share < 1 ? "> 99.9 %" : `${(100 * share).toFixed(1)} %`;
}

const percentage = (share) => `${Math.round(100 * share)} %`;
const ofCases = (coverage) => `in ${percentage(coverage)}`;

function bar(share, before = []) {
  const filled = make("b");
  filled.style.width = `${100 * share}%`;
  return make("span", { className: "bar" }, ...before, make("i", { "aria-hidden": "true" }, filled), make("span", {}, percent(share)));
}

function plural(n, one, many = `${one}s`) {
  return `${n} ${n === 1 ? one : many}`;
}

const working = (text) => [make("span", { className: "busy-dot", "aria-hidden": "true" }), text];

// Asking the server

class Refused extends Error {
  constructor(status, errors) {
    super(errors.map((each) => each.says).join("; "));
    Object.assign(this, { status, errors });
  }
}

async function ask(path, body) {
  const headers = body ? { "Content-Type": "application/json" } : {};
  if (page.token) headers.Authorization = `Bearer ${page.token}`;
  let response;
  try {
    response = await fetch(path, body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers });
  } catch {
    throw new Refused(0, [{ field: "", says: "the server does not answer; is `crystalsweep app` still running?" }]);
  }
  const answer = await response.json().catch(() => ({ errors: [{ field: "", says: `the server answered ${response.status}` }] }));
  if (!response.ok) throw new Refused(response.status, answer.errors);
  return answer;
}

function clearErrors(...fields) {
  for (const field of fields) {
    $(`error-${field}`).textContent = "";
    const input = $(field);
    if (input) input.removeAttribute("aria-invalid");
  }
}

/** Each error stands beside its field, or in the place for all others; the first field that has one gets the focus. */
function showErrors(error, elsewhere) {
  if (!(error instanceof Refused)) throw error;
  let first = null;
  for (const { field, says } of error.errors) {
    const at = $(`error-${field}`) ? field : elsewhere;
    const place = $(`error-${at}`);
    place.textContent += (place.textContent ? "\n" : "") + says;
    const input = FIELDS.includes(at) ? $(at) : null;
    if (input) input.setAttribute("aria-invalid", "true");
    first = first || input;
  }
  if (first) first.focus();
  if (error.status === 401) askForToken();
}

// The token, where the page was started with one: from its address, or asked for; it is kept for this tab

function askForToken() {
  $("main").hidden = true;
  $("enter").hidden = false;
  $("token").focus();
}

async function enter() {
  clearErrors("token");
  try {
    const model = await ask("/api/model");
    const size = model.parameters.toLocaleString("en");
    const odds = model.calibrated ? "odds calibrated" : "odds not calibrated";
    $("model").textContent = `Model: ${model.name} (${model.network}, ${size} parameters, stage ${model.stage}; ${odds}).`;
    sessionStorage.setItem("token", page.token);
    $("enter").hidden = true;
    $("main").hidden = false;
  } catch (error) {
    if (error.status === 401 && !page.token) askForToken();
    else showErrors(error, error.status === 401 ? "token" : "upload");
  }
}

$("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  page.token = $("token").value.trim();
  enter();
});

// Crystals in 3D: how they are drawn is in drawing.js

const before = new View("before");
const after = new View("after");

// 1: a crystal

async function base64(blob) {
  const address = await new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => failed(new Refused(0, [{ field: "upload", says: "the browser cannot read this file" }]));
    reader.readAsDataURL(blob);
  });
  return address.slice(address.indexOf(",") + 1);
}

async function upload(name, blob, supercell = "") {
  const field = supercell ? "supercell" : "upload";
  clearErrors("upload", "supercell");
  list("left-out", []);
  $("reading").replaceChildren(...working("Reading …"));
  try {
    if (blob.size > told.most_bytes)
      throw new Refused(0, [{ field: "upload", says: `the file has ${blob.size.toLocaleString("en")} bytes; at most ${told.most_bytes.toLocaleString("en")} are read` }]);
    const { crystals, notes } = await ask("/api/read", { name, content: await base64(blob), supercell });
    list("left-out", notes);
    const again = supercell ? Number($("which").value) : 0;
    page.upload = { name, blob };
    offer(crystals, again);
  } catch (error) {
    showErrors(error, field);
  } finally {
    $("reading").textContent = "";
  }
}

function offer(crystals, index = 0) {
  page.crystals = crystals;
  $("several").hidden = crystals.length < 2;
  $("which").replaceChildren(...crystals.map(({ crystal }, i) => make("option", { value: i }, `${crystal.name} (${plural(crystal.elements.length, "atom")})`)));
  $("which").value = index;
  choose(index);
}

function choose(index) {
  const { crystal, notes } = page.crystals[index];
  page.crystal = crystal;
  list("notes", notes);
  page.masked = new Set(unknown());
  page.answer = null;
  $("answer").hidden = true;
  $("waiting").hidden = false;
  $("masking").hidden = $("wishes").hidden = false;
  $("shared").hidden = !(crystal.shared.length && page.upload);
  $("name").textContent = page.crystal.name;
  clearErrors(...FIELDS.filter((field) => $(`error-${field}`)), "masked", "crystal", "constraints", "complete");
  drawElements();
  drawSites();
  drawMask(true);
}

const unknown = () => page.crystal.elements.flatMap((symbol, site) => (symbol === null ? [site] : []));

$("file").addEventListener("change", () => {
  const [file] = $("file").files;
  if (file) upload(file.name, file);
  $("file").value = ""; // so that the same file can be chosen again
});

$("use-text").addEventListener("click", () => upload("", new Blob([$("text").value])));

$("which").addEventListener("change", () => choose(Number($("which").value)));

$("reorder").addEventListener("click", () => upload(page.upload.name, page.upload.blob, $("supercell").value.trim()));

$("example").addEventListener("click", () => {
  clearErrors("upload");
  list("left-out", []);
  page.upload = null;
  offer([{ crystal: told.example.crystal, notes: [] }]);
  maskElement(told.example.mask);
});

for (const kind of ["dragenter", "dragover", "dragleave", "drop"])
  $("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0]) upload(event.dataTransfer.files[0].name, event.dataTransfer.files[0]);
  });

// 2: its mask

const sitesOf = (symbol) => page.crystal.elements.flatMap((each, site) => (each === symbol ? [site] : []));

function maskElement(symbol) {
  const sites = sitesOf(symbol);
  const all = sites.every((site) => page.masked.has(site));
  for (const site of sites) all ? page.masked.delete(site) : page.masked.add(site);
  drawMask();
}

function toggle(site) {
  if (page.crystal.elements[site] === null) return; // nothing is known to stand there
  page.masked.has(site) ? page.masked.delete(site) : page.masked.add(site);
  drawMask();
}

function drawElements() {
  const symbols = [...new Set(page.crystal.elements.filter(Boolean))];
  $("elements").replaceChildren(
    ...symbols.map((symbol) => {
      const chip = make("button", { type: "button" }, dot(symbol), `${symbol} × ${sitesOf(symbol).length}`);
      chip.dataset.symbol = symbol;
      chip.addEventListener("click", () => maskElement(symbol));
      return chip;
    }),
  );
}

function drawSites() {
  $("rows").replaceChildren(
    ...page.crystal.elements.map((symbol, site) => {
      const known = symbol === null ? "of unknown element" : symbol;
      const box = make("input", { type: "checkbox", disabled: symbol === null, "aria-label": `mask site ${site + 1}, ${known}` });
      box.addEventListener("change", () => toggle(site));
      const cells = [box, site + 1, symbol || "?", ...page.crystal.frac[site].map((f) => f.toFixed(4))];
      return make("tr", {}, ...cells.map((cell) => make("td", {}, cell)));
    }),
  );
}

function drawMask(fresh = false) {
  for (const chip of $("elements").children) {
    const sites = sitesOf(chip.dataset.symbol);
    const masked = sites.filter((site) => page.masked.has(site)).length;
    chip.setAttribute("aria-pressed", masked === 0 ? "false" : masked === sites.length ? "true" : "mixed");
  }
  [...$("rows").children].forEach((row, site) => {
    row.className = page.masked.has(site) ? "masked" : "";
    row.querySelector("input").checked = page.masked.has(site);
  });
  const n = page.crystal.elements.length;
  $("count").textContent = `${page.masked.size} of ${plural(n, "site")} masked${page.masked.size ? "" : ": only positions would be restored"}`;
  clearErrors("masked");
  drawStale();
  before.draw(page.crystal, page.masked, { fresh, onAtom: toggle });
}

/** Say so where the answer is to another mask, or to other wishes. */
function drawStale() {
  const answered = page.answer ? maskedOf(page.answer) : [];
  const same = answered.length === page.masked.size && answered.every((site) => page.masked.has(site));
  $("stale").hidden = !page.answer || (same && page.wished === JSON.stringify(wishes()));
}

$("wishes").addEventListener("input", drawStale);

// 3: constraints, and the answer

$("wishes").addEventListener("submit", async (event) => {
  event.preventDefault();
  if ($("complete").disabled) return;
  clearErrors("allowed", "exclude", "required", "formula", "top", "masked", "crystal", "constraints", "complete");
  const began = Date.now();
  const since = () => ((Date.now() - began) / 1000).toFixed(0);
  $("complete").disabled = true;
  $("wishes").setAttribute("aria-busy", "true");
  $("busy").replaceChildren(...working("The model is at work …"));
  const clock = setInterval(() => $("busy").replaceChildren(...working(`The model is at work … ${since()} s`)), 5000);
  const crystal = page.crystal;
  const wished = wishes();
  try {
    const answer = await ask("/api/complete", { crystal, masked: [...page.masked].map((site) => site + 1), ...wished });
    page.wished = JSON.stringify(wished);
    if (crystal === page.crystal) showAnswer(answer);
  } catch (error) {
    showErrors(error, "complete");
  } finally {
    clearInterval(clock);
    $("busy").textContent = "";
    $("complete").disabled = false;
    $("wishes").removeAttribute("aria-busy");
  }
});

function wishes() {
  const asked = Object.fromEntries(FIELDS.map((field) => [field, $(field).value.trim()]));
  return { ...asked, top: Number(asked.top), keep_positions: $("keep_positions").checked };
}

/** Sites that were masked, from 0 on; an answer counts from 1. */
const maskedOf = (answer) => answer.masked.map((each) => each.atom - 1);

function showAnswer(answer) {
  page.answer = answer;
  page.asked = page.crystal;
  const n = answer.candidates.length;
  $("waiting").hidden = true;
  $("answer").hidden = false;
  $("summary").textContent = n ? `${n}, best first` : "none";
  list("warnings", [...answer.warnings, ...(answer.calibrated || !answer.masked.length ? [] : [UNCALIBRATED])]);
  drawStale();
  $("after").hidden = $("legend").hidden = $("zip").hidden = $("rule").hidden = n === 0;
  $("ranked").replaceChildren(...answer.candidates.map(candidate));
  $("rest").textContent = rest(answer);
  list("sets", answer.sets.filter((each) => each.ranks.length).map(jointSet));
  drawOdds(answer);
  if (n) show(0, true);
  $("h-candidates").focus({ preventScroll: true });
  if ($("answer").getBoundingClientRect().top > innerHeight / 2) $("h-candidates").scrollIntoView({ block: "start" });
}

function rest(answer) {
  if (answer.renormalised) return "Shares among the candidates found: what was asked leaves others out.";
  const others = 1 - answer.candidates.reduce((sum, each) => sum + each.probability, 0);
  const every = answer.limited ? "All other choices that the constraints leave" : "All other choices together";
  return answer.masked.length && others > 0.0005 ? `${every}: ${percent(others)}.` : "";
}

/** Of which candidates one is right, how often: `in 90 % of such cases the right one is 1 or 2`. */
function jointSet({ coverage, ranks }) {
  const last = ranks[ranks.length - 1];
  const first = ranks.length > 2 && last === ranks.length;
  const which = first ? `among the first ${last}` : ranks.length > 1 ? `${ranks.slice(0, -1).join(", ")} or ${last}` : `number ${last}`;
  return `${ofCases(coverage)} of such cases the right one is ${which}.`;
}

function candidate(each, index) {
  const radio = make("input", { type: "radio", name: "candidate", value: index, id: `candidate-${index}` });
  radio.addEventListener("change", () => show(index));
  const formula = make("span", { className: "formula" }, `${index + 1}. `, ...subscripted(each.formula));
  if (page.answer.masked.length) formula.append(make("span", { className: "fill" }, each.filled));
  if (each.as_given) formula.append(make("span", { className: "badge" }, "as in the file"));
  const balanced = each.charge_balanced;
  const charge = make("span", { className: balanced ? "good" : "bad" }, balanced ? "✓ charge-balanced" : "✗ not charge-balanced");
  const facts = [charge, ` · shortest distance ${each.shortest_distance.toFixed(2)} Å · moved ${each.largest_move.toFixed(2)} Å`];
  const label = make("label", { for: radio.id }, radio, formula, bar(each.probability), make("span", { className: "facts" }, ...facts));
  if (each.known) label.append(make("span", { className: "facts" }, knownAs(each.known)));
  const cif = make("button", { type: "button", className: "plain", "aria-label": `CIF of candidate ${index + 1}, ${each.formula}` }, "CIF");
  cif.addEventListener("click", () => save(each.cif, `${fileName()}-${index + 1}-${each.formula}.cif`, "chemical/x-cif"));
  return make("li", {}, label, cif);
}

const knownAs = ({ id, formula, relation }) =>
  ({ same: `same as ${id}`, "same composition": `composition of ${id}, other structure`, near: `nearest known: ${id}, ${formula}` })[relation];

function show(index, fresh = false) {
  page.chosen = index;
  const chosen = page.answer.candidates[index];
  $(`candidate-${index}`).checked = true;
  const elements = page.asked.elements.map((symbol, site) => chosen.elements[site + 1] || symbol);
  const crystal = { lattice: page.asked.lattice, frac: chosen.frac, elements };
  after.draw(crystal, new Set(), { fresh, filled: new Set(maskedOf(page.answer)) });
  const symbols = [...new Set(elements)];
  $("legend").replaceChildren(...symbols.map((symbol) => make("span", {}, dot(symbol), symbol)));
}

function drawOdds(answer) {
  const known = answer.masked.some((site) => site.sets.some((each) => each.coverage === SHOWN));
  const sets = known ? `; dark bars belong to the set of which one is right ${ofCases(SHOWN)} of such cases` : "";
  $("odds-hint").textContent = answer.masked.length
    ? `What the model says of each masked site by itself, seeing only the sites that are not masked${sets}.`
    : "No site is masked.";
  $("odds").replaceChildren(
    ...alike(answer).map(([sites, odds, sets]) => {
      const heading = make("h3", {}, `${sites.length > 1 ? "Sites" : "Site"} ${sites.join(", ")}`);
      const shown = sets.find((each) => each.coverage === SHOWN);
      const bars = Object.entries(odds).filter((odd, i) => !i || odd[1] >= LEAST).map((odd) => {
        const made = bar(odd[1], [make("span", {}, odd[0])]);
        if (shown && !shown.elements.includes(odd[0])) made.classList.add("outside");
        return made;
      });
      const lines = bySet(sets).map(([shares, elements]) => make("li", {}, make("b", {}, `${shares.join(", ")}: `), elements));
      return make("div", { className: "site" }, heading, ...bars, make("ul", { className: "sets" }, ...lines));
    }),
  );
}

/** Sets as coverages and elements; those of the same elements together. */
function bySet(sets) {
  const shares = new Map();
  for (const { coverage, elements } of sets)
    shares.set(elements.join(", "), [...(shares.get(elements.join(", ")) || []), percentage(coverage)]);
  return [...shares].map(([elements, coverages]) => [coverages, elements]);
}

/** Masked sites of which the same is shown, as of sites that symmetry makes equal, together. */
function alike(answer) {
  const groups = new Map();
  for (const { atom, odds, sets } of answer.masked) {
    const drawn = Object.entries(odds).filter(([, share]) => share >= LEAST);
    const key = JSON.stringify([drawn.map(([symbol, share]) => [symbol, percent(share)]), sets]);
    groups.set(key, [[...(groups.get(key) || [[]])[0], atom], odds, sets]);
  }
  return [...groups.values()];
}

// Downloads

const fileName = () => page.answer.id.replace(/[^\w.+-]+/g, "_").slice(0, 60) || "crystal";

function save(content, name, type) {
  const link = make("a", { href: URL.createObjectURL(new Blob([content], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

$("zip").addEventListener("click", () => {
  const bytes = Uint8Array.from(atob(page.answer.zip), (letter) => letter.charCodeAt(0));
  save(bytes, `${fileName()}-candidates.zip`, "application/zip");
});

$("json").addEventListener("click", () => {
  const { zip, ...answer } = page.answer;
  save(JSON.stringify(answer, null, 1), `${fileName()}-candidates.json`, "application/json");
});

// Begin

page.token = new URLSearchParams(location.hash.slice(1)).get("token") || sessionStorage.getItem("token") || "";
if (location.hash) history.replaceState(null, "", location.pathname);
enter();
