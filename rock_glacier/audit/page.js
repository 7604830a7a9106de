"use strict";

(() => {
  const BATCH = 50; // groups of findings, or findings of a group, that are drawn at once
  const FIRST = 3; // findings of a group that are drawn before more are asked for; of pairs, one
  const SCALE = 1.25; // of a pair of tiles, in CSS pixels for each of its own
  const MARGIN = 8; // around the tiles of a pair
  const SVG = "http://www.w3.org/2000/svg";

  const report = JSON.parse(document.getElementById("report").textContent);
  const { findings, sources, groundSizes, tileSize } = report;
  document.documentElement.classList.add("with-script");
  document.querySelector(".without-script")?.remove();
  const opacity = document.getElementById("opacity");
  opacity?.addEventListener("input", () => {
    document.documentElement.style.setProperty("--opacity", String(opacity.value / 100));
  });

  // A click on a picture enlarges it; Escape, or another click, closes it.
  const enlarged = document.getElementById("enlarged");
  for (const picture of document.querySelectorAll("button.picture")) picture.disabled = false;
  document.addEventListener("click", (event) => {
    const picture = event.target.closest("button.picture");
    if (enlarged.open) return enlarged.close();
    if (!picture) return;
    const shown = element("span", { class: "picture" }, ...[...picture.childNodes].map((one) => one.cloneNode(true)));
    const close = element("button", { type: "button", autofocus: "" }, "Close");
    enlarged.replaceChildren(shown, element("p", {}, picture.title), close);
    enlarged.showModal();
  });

  const form = document.getElementById("filters");
  if (!form) return; // nothing was found
  // Pictures of the gallery are read from the gallery, all others from the block of JSON: none is in the page twice.
  const pictures = new Map();
  for (const [path, [tile, overlay, share]] of Object.entries(report.pictures)) {
    pictures.set(path, { tile, overlay, share });
  }
  for (const shown of document.querySelectorAll("[data-path]")) {
    pictures.set(shown.dataset.path, {
      tile: shown.querySelector(".ground")?.getAttribute("src") ?? "",
      overlay: shown.querySelector(".overlay")?.getAttribute("src") ?? "",
      share: "share" in shown.dataset ? Number(shown.dataset.share) : null,
    });
  }
  const searched = new Map();
  for (const finding of findings) {
    const texts = [finding.path, finding.message, ...finding.tiles.map((path) => sources[path] ?? "")];
    searched.set(finding, texts.join("\n").toLowerCase());
  }

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

  function counted(number, noun) {
    return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
  }

  function named(path) {
    return sources[path] ? `${path}, made from ${sources[path]}` : path;
  }

  // A path may break behind each slash, and not within a name.
  function breakable(path) {
    return path.split("/").flatMap((part, place) => (place ? ["/", document.createElement("wbr"), part] : [part]));
  }

  function tileFigure(path, isNamed) {
    const picture = pictures.get(path);
    const share = shareText(picture?.share);
    const title = [named(path), share].filter(Boolean).join(", ");
    const frame = element("button", { type: "button", class: "picture", title });
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
      class: "pair",
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
    const title = `a is ${named(a)}; b is ${named(b)}`;
    return element("figure", {}, element("button", { type: "button", class: "picture", title }, figure));
  }

  function pairLegend({ a, b, turn }) {
    const missing = [a, b].some((path) => !pictures.get(path)?.tile);
    const ending = missing ? "; a picture is left out." : ".";
    const shared = `${turn ? ", turned to fit" : ""}; the dashed frames hold what both show${ending}`;
    return element("p", { class: "quiet" }, "a is ", ...breakable(named(a)), "; b is ", ...breakable(named(b)), shared);
  }

  function heading({ severity, code }) {
    return element("p", { class: "what" }, icon(severity), `${severity} `, element("code", {}, code));
  }

  function findingItem(finding, isInGroup) {
    const item = element("li", { class: isInGroup ? "of-group" : `finding ${finding.severity}`, tabindex: "-1" });
    if (finding.pair || finding.tiles.length) {
      const shown = element("div", { class: "shown" });
      if (finding.pair) shown.append(pairFigure(finding.pair));
      else for (const path of finding.tiles) shown.append(tileFigure(path, finding.tiles.length > 1));
      item.append(shown);
    }
    const words = element("div", { class: "words" });
    if (!isInGroup) words.append(heading(finding));
    words.append(element("p", { class: "path" }, ...breakable(finding.path)), element("p", {}, finding.message));
    if (finding.pair) words.append(pairLegend(finding.pair));
    else for (const path of finding.tiles) if (sources[path]) words.append(element("p", { class: "quiet" }, named(path)));
    item.append(words);
    return item;
  }

  // All findings of a code, about one ground where they are about shared ground: the first are shown, the others on demand.
  function groupItem(group) {
    const [first] = group;
    if (group.length === 1) return findingItem(first, false);
    const where = first.ground === null ? "" : ` on one ground of ${counted(groundSizes[first.ground], "tile")}`;
    const splits = new Map();
    for (const finding of group) {
      const key = finding.split.join(" and ") || "no split";
      splits.set(key, (splits.get(key) ?? 0) + 1);
    }
    const spread = [...splits].map(([key, number]) => `${key}: ${number.toLocaleString("en")}`).join("; ");
    const list = element("ol", { class: "list" });
    const more = element("button", { type: "button", class: "more" });
    const title = element("h3", {}, counted(group.length, first.pair ? "pair" : "finding"), where);
    drawInBatches(list, more, group, (finding) => findingItem(finding, true), first.pair ? 1 : FIRST);
    return element(
      "li",
      { class: `finding group ${first.severity}`, tabindex: "-1" },
      heading(first),
      title,
      element("p", { class: "quiet" }, spread),
      list,
      more,
    );
  }

  // ------------------------------------------------------------------------------------------------- the list

  function drawInBatches(list, more, items, make, first) {
    let drawn = 0;
    const draw = (number) => {
      const batch = items.slice(drawn, drawn + number).map(make);
      drawn += batch.length;
      list.append(...batch);
      const left = items.length - drawn;
      more.hidden = left === 0;
      more.textContent = left > BATCH ? `Show ${BATCH} more of ${left.toLocaleString("en")}` : `Show ${left} more`;
      return batch;
    };
    more.onclick = () => draw(BATCH)[0].focus(); // the button stands after what is new
    list.replaceChildren();
    draw(first);
  }

  function groupsOf(matching) {
    const groups = new Map(); // in the order of the findings, which is that of the codes
    for (const finding of matching) {
      const key = JSON.stringify([finding.code, finding.severity, finding.ground]);
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(finding);
    }
    const of = (group) => codes.indexOf(group[0].code);
    return [...groups.values()].sort((a, b) => of(a) - of(b) || b.length - a.length);
  }

  const facets = ["severity", "split", "class", "code"];
  const codes = [...new Set(findings.map((finding) => finding.code))];

  function filter() {
    const values = new FormData(form);
    const chosen = facets.map((facet) => [facet, new Set(values.getAll(facet))]);
    const text = values.get("text").trim().toLowerCase();
    // Findings that match the text and all facets, but for one that is left out.
    const match = (leftOut) =>
      findings.filter(
        (finding) =>
          searched.get(finding).includes(text) &&
          chosen.every(
            ([facet, wanted]) =>
              facet === leftOut || !wanted.size || [finding[facet]].flat().some((value) => wanted.has(value)),
          ),
      );
    for (const facet of facets) {
      const numbers = new Map();
      for (const finding of match(facet)) {
        for (const value of [finding[facet]].flat()) numbers.set(value, (numbers.get(value) ?? 0) + 1);
      }
      for (const input of form.querySelectorAll(`input[name=${facet}]`)) {
        input.parentElement.lastElementChild.textContent = (numbers.get(input.value) ?? 0).toLocaleString("en");
      }
    }
    const matching = match();
    const groups = groupsOf(matching);
    drawInBatches(document.getElementById("list"), document.getElementById("more"), groups, groupItem, BATCH);
    const all = counted(findings.length, "finding");
    const some = `${matching.length.toLocaleString("en")} of ${all} match the filters`;
    const inGroups = groups.length < matching.length ? `, in ${counted(groups.length, "group")}` : "";
    document.getElementById("count").textContent =
      (matching.length < findings.length ? some : findings.length > 1 ? `All ${all}` : all) + inGroups;
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
  window.addEventListener("hashchange", recall);

  if (window.matchMedia("(max-width: 56rem)").matches) form.querySelector("details").open = false;
  filter();
  recall();
})();
