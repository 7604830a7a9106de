"use strict";

(() => {
  const BATCH = 50; // findings that are drawn at once
  const PRINTED = 500; // findings that a print holds at most
  const SCALE = 1.25; // of a pair of tiles, in CSS pixels for each of its own
  const MARGIN = 8; // around the tiles of a pair
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

  // Side by side, tile b turned to fit: tile a's pixel (x, y) is then tile b's (x - dx, y - dy).
  function pairFigure({ a, b, turn, dx, dy }) {
    const size = { width: tileSize, height: tileSize };
    const [across, high] = [2 * (tileSize + MARGIN) + MARGIN, tileSize + 2 * MARGIN];
    const figure = drawing("svg", {
      viewBox: `0 0 ${across} ${high}`,
      width: SCALE * across,
      height: SCALE * high,
      role: "img",
      "aria-label": `${a} and ${b}, at turn=${turn}, dx=${dx}, dy=${dy}, with frames around what both show`,
    });
    // As numpy.rot90 by turn % 4, then transposed where turn is 4 or more.
    const half = tileSize / 2;
    const fitted = `${turn >= 4 ? "matrix(0 1 1 0 0 0) " : ""}rotate(${-90 * (turn % 4)} ${half} ${half})`;
    for (const [letter, path, transform, left, x, y] of [
      ["a", a, "", MARGIN, Math.max(0, dx), Math.max(0, dy)],
      ["b", b, fitted, 2 * MARGIN + tileSize, Math.max(0, -dx), Math.max(0, -dy)],
    ]) {
      const picture = pictures.get(path);
      const tile = drawing("g", { transform });
      if (picture?.tile) tile.append(drawing("image", { href: picture.tile, ...size }));
      else tile.append(drawing("rect", { class: "missing", ...size }));
      if (picture?.overlay) tile.append(drawing("image", { class: "overlay", href: picture.overlay, ...size }));
      const shared = { x, y, width: tileSize - Math.abs(dx), height: tileSize - Math.abs(dy) };
      figure.append(
        drawing(
          "g",
          { transform: `translate(${left} ${MARGIN})` },
          tile,
          drawing("rect", { class: "edge", ...size }),
          drawing("rect", { class: "shared-under", ...shared }),
          drawing("rect", { class: "shared", ...shared }),
          drawing("text", { x: 6, y: 17 }, letter),
        ),
      );
    }
    return element("figure", { class: "pair" }, figure);
  }

  function pairLegend({ a, b, turn }) {
    const missing = [a, b].some((path) => !pictures.get(path)?.tile);
    const ending = missing ? "; a picture is left out." : ".";
    const shared = `${turn ? ", turned to fit" : ""}; the dashed frames hold what both show${ending}`;
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
