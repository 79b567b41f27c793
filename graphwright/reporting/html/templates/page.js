"use strict";

(() => {
  const data = JSON.parse(document.getElementById("data").textContent);

  /** Lines up to this length are drawn whole; one longer line, of a constant's numbers say, would stall the layout. */
  const LONGEST = 2000;
  const CHUNK = 200;

  /**
   * A box of any number of lines, of which only those near what is looked at are in the document: with tens of
   * thousands there, every layout, and every step of the focus past them, would take seconds.
   */
  class Listing {
    constructor(box) {
      this.box = box;
      addEventListener("beforeprint", () => this.chunks?.forEach((_, index) => this.fill(index)));
    }

    /** `rows` are [number or "", text, class, ranges]; see `paint`. */
    show(rows) {
      this.observer?.disconnect();
      this.rows = rows;
      this.current = -1;
      const widest = rows.reduce((most, row) => Math.max(most, Math.min(row[1].length, LONGEST)), 0);
      const body = document.createElement("div");
      body.className = "lines";
      body.style.setProperty("--longest", widest);
      this.chunks = [];
      for (let start = 0; start < rows.length; start += CHUNK) {
        const chunk = document.createElement("div");
        chunk.style.setProperty("--lines", Math.min(CHUNK, rows.length - start));
        this.chunks.push(chunk);
      }
      body.append(...this.chunks);
      this.box.replaceChildren(body);
      this.box.scrollTop = 0;
      if (rows.length) this.fill(0);
      this.observer = new IntersectionObserver((entries) => entries.forEach((entry) => this.look(entry)), {
        root: this.box,
        rootMargin: "1500px 0px",
      });
      for (const chunk of this.chunks) this.observer.observe(chunk);
    }

    look({ target, isIntersecting }) {
      if (isIntersecting) this.fill(this.chunks.indexOf(target));
      else target.replaceChildren();
    }

    fill(index) {
      const chunk = this.chunks[index];
      if (chunk.childElementCount) return;
      chunk.append(...this.rows.slice(index * CHUNK, (index + 1) * CHUNK).map(drawLine));
      if (Math.floor(this.current / CHUNK) === index) this.line(this.current).classList.add("current");
    }

    line(row) {
      return this.chunks[Math.floor(row / CHUNK)].children[row % CHUNK];
    }

    /** Marks one line as the current one and brings it into view. */
    goTo(row) {
      this.box.querySelector(".current")?.classList.remove("current");
      this.fill(Math.floor(row / CHUNK));
      this.current = row;
      const line = this.line(row);
      line.classList.add("current");
      const height = line.offsetHeight;
      const top = row * height;
      if (top < this.box.scrollTop || top + 2 * height > this.box.scrollTop + this.box.clientHeight) {
        this.box.scrollTop = top - this.box.clientHeight / 3;
      }
    }
  }

  function drawLine([number, text, kind, ranges]) {
    const line = document.createElement("div");
    line.className = kind ? `line ${kind}` : "line";
    line.dataset.number = number;
    const shown = text.slice(0, LONGEST);
    paint(line, shown, ranges);
    if (shown.length < text.length) line.append(` … ${text.length - shown.length} more characters`);
    return line;
  }

  /** Appends `text` to `element`, with each [start, end, class] of `ranges`, which may overlap, in a class. */
  function paint(element, text, ranges) {
    const edges = ranges.flatMap(([start, end]) => [start, end]).filter((edge) => edge < text.length);
    const cuts = [...new Set([0, ...edges, text.length])].sort((a, b) => a - b);
    for (let i = 0; i + 1 < cuts.length; i++) {
      const [from, to] = [cuts[i], cuts[i + 1]];
      const names = ranges.filter(([start, end]) => start <= from && to <= end).map((range) => range[2]);
      const piece = text.slice(from, to);
      if (!names.length) {
        element.append(piece);
        continue;
      }
      const span = document.createElement("span");
      span.className = names.join(" ");
      span.textContent = piece;
      element.append(span);
    }
  }

  function startTheme() {
    const button = document.getElementById("theme");
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const root = document.documentElement;
    const isDark = () => (root.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
    const name = () => (button.textContent = isDark() ? "Light colours" : "Dark colours");
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      name();
    });
    dark.addEventListener("change", name);
    button.hidden = false;
    name();
  }

  function startDisclosures() {
    for (const button of document.querySelectorAll("button.disclosure")) {
      const target = document.getElementById(button.getAttribute("aria-controls"));
      const open = (wanted) => {
        button.setAttribute("aria-expanded", wanted);
        target.hidden = !wanted;
        if (wanted && "diff" in button.dataset && !target.childElementCount) {
          new Listing(target).show(diffRows(data.diffs[button.dataset.diff]));
        }
      };
      button.addEventListener("click", () => open(target.hidden));
      open(false);
    }
  }

  function diffRows(diff) {
    const kinds = { "+": "added", "-": "removed", "@": "hunk" };
    return diff.split("\n").map((text) => ["", text, kinds[text[0]], []]);
  }

  /** A line of the graph, and where its op's name and its module's path stand in it. */
  function parseLine(text, index) {
    const op = /^ *%.*? = (?=(\w+)\()/.exec(text);
    const place = op && /^.* {2}at (?=(.+)$)/.exec(text);
    const range = (found) => found && [found[0].length, found[0].length + found[1].length];
    return { number: index + 1, text, folded: text.toLowerCase(), op: range(op), place: range(place) };
  }

  /** Where `needle` stands in a field of a line, as ranges. */
  function find(line, needle, field) {
    const [from, end] = field === "text" ? [0, line.text.length] : (line[field] ?? [0, 0]);
    const ranges = [];
    let at = line.folded.indexOf(needle, from);
    while (at >= 0 && at + needle.length <= end) {
      ranges.push([at, at + needle.length, "match"]);
      at = line.folded.indexOf(needle, at + needle.length);
    }
    return ranges;
  }

  function startGraph() {
    const [needle, field, only, previous, next, found] = ["needle", "field", "only", "previous", "next", "found"].map(
      (id) => document.getElementById(id),
    );
    const lines = data.graph.replace(/\n$/, "").split("\n").map(parseLine);
    const listing = new Listing(document.getElementById("lines"));
    /** The rows that match, as they are listed; the current one is the one at `at`. */
    let matches = [];
    let at = 0;

    function search() {
      const wanted = needle.value.trim().toLowerCase();
      const current = matches.length ? matches[at].line : null;
      const rows = [];
      matches = [];
      for (const line of lines) {
        const ranges = wanted ? find(line, wanted, field.value) : [];
        if (ranges.length) matches.push({ row: rows.length, line });
        else if (wanted && only.checked) continue;
        const parts = [line.op && [...line.op, "op"], line.place && [...line.place, "place"]].filter(Boolean);
        rows.push([line.number, line.text, "", [...parts, ...ranges]]);
      }
      listing.show(rows);
      at = Math.max(0, matches.findIndex((match) => match.line === current));
      previous.disabled = next.disabled = !matches.length;
      if (matches.length) step(0);
      else found.textContent = wanted ? `no match in ${lines.length} lines` : `${lines.length} lines`;
    }

    function step(by) {
      if (!matches.length) return;
      at = (at + by + matches.length) % matches.length;
      listing.goTo(matches[at].row);
      found.textContent = `${at + 1} of ${matches.length} matching lines`;
    }

    needle.addEventListener("input", search);
    field.addEventListener("change", search);
    only.addEventListener("change", search);
    previous.addEventListener("click", () => step(-1));
    next.addEventListener("click", () => step(1));
    needle.addEventListener("keydown", (event) => {
      if (event.key === "Enter") step(event.shiftKey ? -1 : 1);
    });
    search();
  }

  startTheme();
  startDisclosures();
  startGraph();
})();
