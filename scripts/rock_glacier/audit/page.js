"use strict";

(() => {
  const BATCH = 50; // findings that are drawn at once
  const PRINTED = 500; // findings that a print holds at most
  const SCALE = 1.3; // of an overlapping pair, in CSS pixels for each of its own
  const SVG = "http://www.w3.org/2000/svg";

  const { findings, pictures: pictureRows, tileSize } = JSON.parse(document.getElementById("report").textContent);
  document.documentElement.classList.add("with-script");
  document.querySelector(".without-script")?.remove();
  const strength = document.getElementById("strength");
  strength?.addEventListener("input", () => {
    document.documentElement.style.setProperty("--strength", String(strength.value / 100));
  });

  const form = document.getElementById("filters");
  if (!form) return; // nothing was found
  const list = document.getElementById("list");
  const more = document.getElementById("more");
  const unprinted = document.getElementById("unprinted");

  // Pictures of the gallery are read from the gallery, all others from the block of JSON: none is in the page twice.
  const pictures = new Map();
  for (const [path, [tile, overlay, share]] of Object.entries(pictureRows)) {
    pictures.set(path, { tile, overlay, share });
  }
  for (const shown of document.querySelectorAll("[data-path]")) {
    pictures.set(shown.dataset.path, {
      tile: shown.querySelector(".ground")?.getAttribute("src") ?? "",
      overlay: shown.querySelector(".overlay")?.getAttribute("src") ?? "",
      share: "share" in shown.dataset ? Number(shown.dataset.share) : null,
    });
  }
  const searched = findings.map((finding) => `${finding.path}\n${finding.message}`.toLowerCase());

  let matching = findings;
  let drawn = 0;

  // ------------------------------------------------------------------------------------------------ elements

  function element(name, attributes, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children); // texts become text nodes, whatever stands in them
    return made;
  }

  function drawing(name, attributes, ...children) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function icon(severity) {
    return drawing(
      "svg",
      { class: "icon", width: 18, height: 18, "aria-hidden": "true" },
      drawing("use", { href: `#icon-${severity}` }),
    );
  }

  function shareText(share) {
    if (share === null || share === undefined) return "";
    return share ? `${(100 * share).toFixed(1)}\u00a0% rock glacier` : "empty mask";
  }

  // A path may break behind each slash, and not within a name.
  function breakable(path) {
    return path.split("/").flatMap((part, place) => (place ? ["/", document.createElement("wbr"), part] : [part]));
  }

  function tileFigure(path, isNamed) {
    const picture = pictures.get(path);
    const frame = element("span", { class: "picture" });
    if (picture?.tile) {
      frame.append(element("img", { class: "ground", src: picture.tile, alt: path, decoding: "sync" }));
    } else {
      const why = !picture ? "picture left out" : picture.overlay ? "" : "cannot be shown";
      frame.append(element("span", { class: "none" }, why));
    }
    if (picture?.overlay) {
      const alt = picture.tile ? "" : `the mask of ${path}`;
      frame.append(element("img", { class: "overlay", src: picture.overlay, alt, decoding: "sync" }));
    }
    const figure = element("figure", { class: "tile" }, frame);
    const share = shareText(picture?.share);
    if (isNamed || share) {
      const name = element("span", {}, ...(isNamed ? breakable(path) : []));
      figure.append(element("figcaption", {}, name, element("span", {}, share)));
    }
    return figure;
  }

  // Tile a's pixel (x, y) is tile b's (x - dx, y - dy): b lies by (dx, dy) from a.
  function pairFigure({ a, b, dx, dy, pixels }) {
    const [left, top] = [Math.min(0, dx), Math.min(0, dy)];
    const [width, height] = [tileSize + Math.abs(dx), tileSize + Math.abs(dy)];
    const margin = 3;
    const across = `${Math.abs(dx)} pixels ${dx < 0 ? "left" : "right"}`;
    const down = `${Math.abs(dy)} ${dy < 0 ? "up" : "down"}`;
    const figure = drawing("svg", {
      viewBox: `${left - margin} ${top - margin} ${width + 2 * margin} ${height + 2 * margin}`,
      width: Math.round(SCALE * width),
      height: Math.round(SCALE * height),
      role: "img",
      "aria-label": `${a} and, ${across} and ${down} of it, ${b}; they share ${pixels} pixels`,
    });
    const places = [[a, 0, 0], [b, dx, dy]].map(([path, x, y]) => [
      pictures.get(path),
      { x, y, width: tileSize, height: tileSize },
    ]);
    for (const [picture, at] of places) {
      if (picture?.tile) figure.append(drawing("image", { href: picture.tile, ...at }));
      else figure.append(drawing("rect", { class: "missing", ...at }));
    }
    for (const [picture, at] of places) { // above both tiles, so that it shows where their masks disagree
      if (picture?.overlay) figure.append(drawing("image", { class: "overlay", href: picture.overlay, ...at }));
    }
    figure.append(drawing("rect", { class: "edge", x: 0, y: 0, width: tileSize, height: tileSize }));
    figure.append(drawing("rect", { class: "edge b", x: dx, y: dy, width: tileSize, height: tileSize }));
    const shared = {
      x: Math.max(0, dx),
      y: Math.max(0, dy),
      width: tileSize - Math.abs(dx),
      height: tileSize - Math.abs(dy),
    };
    figure.append(drawing("rect", { class: "shared-under", ...shared }));
    figure.append(drawing("rect", { class: "shared", ...shared }));
    // Each letter stands in the corner of its tile that is farthest from the other tile.
    const [xOfA, xOfB] = dx >= 0 ? [6, dx + tileSize - 15] : [tileSize - 15, dx + 6];
    const [yOfA, yOfB] = dy >= 0 ? [17, dy + tileSize - 6] : [tileSize - 6, dy + 17];
    figure.append(drawing("text", { x: xOfA, y: yOfA }, "a"), drawing("text", { x: xOfB, y: yOfB }, "b"));
    return element("figure", { class: "pair" }, figure);
  }

  function pairLegend({ a, b }) {
    const missing = [a, b].some((path) => !pictures.get(path)?.tile);
    const ending = missing ? "; a picture is left out." : ".";
    const shared = `; they share the dashed frame${ending}`;
    return element("p", { class: "quiet" }, "a is ", ...breakable(a), ", b is ", ...breakable(b), shared);
  }

  function findingItem(finding) {
    const item = element("li", { class: `finding ${finding.severity}`, tabindex: "-1" });
    if (finding.pair || finding.tiles.length) {
      const shown = element("div", { class: "shown" });
      if (finding.pair) shown.append(pairFigure(finding.pair));
      else for (const path of finding.tiles) shown.append(tileFigure(path, finding.tiles.length > 1));
      item.append(shown);
    }
    const code = element("code", {}, finding.code);
    const what = element("p", { class: "what" }, icon(finding.severity), `${finding.severity} `, code);
    const path = element("p", { class: "path" }, ...breakable(finding.path));
    const words = element("div", { class: "words" }, what, path, element("p", {}, finding.message));
    if (finding.pair) words.append(pairLegend(finding.pair));
    item.append(words);
    return item;
  }

  // ------------------------------------------------------------------------------------------------- the list

  function draw(upTo) {
    const batch = document.createDocumentFragment();
    const end = Math.min(upTo, matching.length);
    for (; drawn < end; drawn += 1) batch.append(findingItem(matching[drawn]));
    list.append(batch);
    const left = matching.length - drawn;
    more.hidden = left === 0;
    more.textContent = `Show ${Math.min(BATCH, left).toLocaleString("en")} more of ${left.toLocaleString("en")}`;
    unprinted.textContent = left ? `${left.toLocaleString("en")} more match, and are not printed.` : "";
  }

  function chosenOf(form) {
    const values = new FormData(form);
    return Object.fromEntries(["severity", "split", "class", "code"].map((key) => [key, new Set(values.getAll(key))]));
  }

  function isChosen(wanted, values) {
    return wanted.size === 0 || (values.length ? values.some((value) => wanted.has(value)) : wanted.has(""));
  }

  function filter() {
    const chosen = chosenOf(form);
    const text = form.elements.text.value.trim().toLowerCase();
    matching = findings.filter(
      (finding, number) =>
        isChosen(chosen.severity, [finding.severity]) &&
        isChosen(chosen.code, [finding.code]) &&
        isChosen(chosen.split, finding.splits) &&
        isChosen(chosen.class, finding.classes) &&
        (!text || searched[number].includes(text)),
    );
    list.replaceChildren();
    drawn = 0;
    draw(BATCH);
    const [some, all] = [matching.length, findings.length].map((number) => number.toLocaleString("en"));
    document.getElementById("count").textContent =
      some === all ? `All ${all} findings` : `${some} of ${all} findings match the filters`;
  }

  // The filters stand in the address, so that a link or a bookmark keeps them.

  function remember() {
    const values = new URLSearchParams(new FormData(form));
    if (!values.get("text")) values.delete("text");
    history.replaceState(null, "", values.size ? `#${values}` : "#findings");
  }

  function recall() {
    const chosen = location.hash.slice(1);
    if (chosen && !chosen.includes("=")) return; // a part of the page
    const values = new URLSearchParams(chosen); // none where one went back to the page as it was opened
    for (const input of form.querySelectorAll("input[type=checkbox]")) {
      input.checked = values.getAll(input.name).includes(input.value);
    }
    form.elements.text.value = values.get("text") ?? "";
    filter();
    if (chosen) document.getElementById("findings").scrollIntoView();
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => {
    filter();
    remember();
  });
  form.addEventListener("reset", () => {
    setTimeout(() => {
      filter();
      remember();
    }); // the event comes before the form is reset
  });
  more.addEventListener("click", () => {
    const first = drawn;
    draw(drawn + BATCH);
    list.children[first].focus(); // the button stands after the new findings
  });
  window.addEventListener("hashchange", recall);
  window.addEventListener("beforeprint", () => draw(PRINTED));

  if (window.matchMedia("(max-width: 56rem)").matches) form.querySelector("details").open = false;
  filter();
  recall();
})();
