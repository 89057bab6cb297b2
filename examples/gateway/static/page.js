// Sends a picture to /read, draws the lines that come back on it, and lists their text.
"use strict";

const MOST_BYTES = 32 * 1024 * 1024; // of the gateway
const SVG = "http://www.w3.org/2000/svg";
const part = (id) => document.getElementById(id);
const state = { name: "", answer: null, address: "", request: null, chosen: -1 };

function start(files) {
  if (!files.length) {
    return;
  }
  const file = files[0];
  clear();
  document.body.classList.add("used");
  state.name = file.name || "pasted picture";
  if (file.size > MOST_BYTES) {
    fail(`${state.name} has ${Math.ceil(file.size / 1048576)} MB, and at most 32 MB are read. Send a smaller picture.`);
    return;
  }
  show(file);
  document.body.classList.add("working");
  say(files.length > 1 ? `Reading ${state.name}, the first of ${files.length} files …` : `Reading ${state.name} …`);
  send(file);
}

async function send(file) {
  const request = new AbortController();
  state.request = request;
  const began = performance.now();
  let answer;
  try {
    const response = await fetch("/read", { method: "POST", body: file, signal: request.signal });
    answer = await response.json().catch(() => ({ error: `The gateway answered HTTP ${response.status}.` }));
    if (!response.ok && !answer.error) {
      answer.error = `The gateway answered HTTP ${response.status}.`;
    }
  } catch (error) {
    answer = { error: "The gateway cannot be reached. Check that it runs, then choose the picture again." };
  }
  if (state.request !== request) {
    return; // another picture was chosen meanwhile
  }
  state.request = null;
  document.body.classList.remove("working");
  if (answer.error) {
    fail(`${state.name}: ${answer.error}`);
  } else {
    finish(answer, (performance.now() - began) / 1000);
  }
}

function finish(answer, seconds) {
  state.answer = answer;
  const count = answer.lines.length;
  const took = `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  say(count ? `${count} ${count === 1 ? "line" : "lines"} read in ${took}.` : `No text was found in this picture (${took}).`);
  part("picture").alt = `${state.name}, ${answer.width} by ${answer.height} pixels`;
  part("result").classList.toggle("without-text", !count);
  part("text-part").hidden = !count;
  part("show-text-part").hidden = !count;
  part("boxes").setAttribute("viewBox", `0 0 ${answer.width} ${answer.height}`);
  part("lines").append(...answer.lines.map(listed));
  part("boxes").append(...answer.lines.map(box));
  answer.lines.forEach(write); // after all boxes, so that none covers the text of another
}

function box(line, number) {
  const found = document.createElementNS(SVG, "g");
  for (const name of ["halo", "box"]) {
    const polygon = document.createElementNS(SVG, "polygon");
    polygon.setAttribute("class", name);
    polygon.setAttribute("points", line.quad.join(" "));
    found.append(polygon);
  }
  found.addEventListener("click", () => choose(number, true));
  return found;
}

// The text of a line in its box, as high and not wider, and rotated with it.
function write(line) {
  const [x0, y0, x1, y1, , , x3, y3] = line.quad;
  const width = Math.hypot(x1 - x0, y1 - y0);
  const height = Math.hypot(x3 - x0, y3 - y0);
  const angle = (Math.atan2(y1 - y0, x1 - x0) * 180) / Math.PI;
  const text = document.createElementNS(SVG, "text");
  text.textContent = line.text.trim();
  text.setAttribute("transform", `translate(${x0} ${y0}) rotate(${angle})`);
  text.setAttribute("x", height * 0.1);
  text.setAttribute("y", height * 0.75);
  text.setAttribute("font-size", height * 0.75);
  part("boxes").append(text);
  if (text.getComputedTextLength() > width - height * 0.2) {
    text.setAttribute("textLength", Math.max(width - height * 0.2, 1));
    text.setAttribute("lengthAdjust", "spacingAndGlyphs");
  }
}

function listed(line, number) {
  const item = document.createElement("li");
  item.id = `line-${number}`;
  item.setAttribute("role", "option");
  item.setAttribute("aria-selected", "false");
  item.textContent = line.text.trim() || "(not read)";
  item.addEventListener("click", () => choose(number, false));
  return item;
}

function choose(number, isToBeSeen) {
  const items = part("lines").children;
  state.chosen = Math.min(Math.max(number, 0), items.length - 1);
  for (let at = 0; at < items.length; at += 1) {
    items[at].setAttribute("aria-selected", String(at === state.chosen));
    part("boxes").children[at].classList.toggle("chosen", at === state.chosen);
  }
  part("lines").setAttribute("aria-activedescendant", items[state.chosen].id);
  if (isToBeSeen) {
    items[state.chosen].scrollIntoView({ block: "nearest" });
  }
}

function move(event) {
  const last = part("lines").children.length - 1;
  const to = { ArrowDown: state.chosen + 1, ArrowUp: state.chosen - 1, Home: 0, End: last }[event.key];
  if (to !== undefined && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    choose(to, true);
  }
}

async function copy() {
  const text = state.answer.lines.map((line) => line.text.trim()).join("\n");
  try {
    await navigator.clipboard.writeText(text);
  } catch (error) { // without https, or not allowed
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const isCopied = document.execCommand("copy");
    area.remove();
    part("copy").focus();
    if (!isCopied) {
      fail("This browser does not allow this page to copy. Select the text and copy it.");
      return;
    }
  }
  say("Text copied.");
}

function download() {
  const content = new Blob([JSON.stringify(state.answer, null, 2) + "\n"], { type: "application/json" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = `${state.name.replace(/\.[^.]*$/, "")}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  say(`${link.download} downloaded.`);
}

function show(file) {
  state.address = URL.createObjectURL(file);
  part("picture").src = state.address;
  part("picture").alt = state.name;
  part("result").hidden = false;
  part("text-part").hidden = true;
  part("show-text-part").hidden = true;
}

function clear() {
  if (state.request) {
    state.request.abort();
  }
  URL.revokeObjectURL(state.address);
  Object.assign(state, { answer: null, address: "", request: null, chosen: -1 });
  document.body.classList.remove("working");
  part("result").hidden = true;
  part("picture").removeAttribute("src");
  part("boxes").replaceChildren();
  part("lines").replaceChildren();
  part("lines").removeAttribute("aria-activedescendant");
  say("");
  part("error").textContent = "";
}

function say(message) {
  part("status").textContent = message;
}

function fail(message) {
  say("");
  part("error").textContent = message;
  if (!state.answer) {
    part("result").hidden = true;
  }
}

part("file").addEventListener("change", (event) => {
  start([...event.target.files]);
  event.target.value = ""; // so that the same picture can be chosen again
});
part("show-text").addEventListener("change", (event) => part("boxes").classList.toggle("with-text", event.target.checked));
part("boxes").classList.toggle("with-text", part("show-text").checked);
part("lines").addEventListener("keydown", move);
part("copy").addEventListener("click", copy);
part("download").addEventListener("click", download);
part("picture").addEventListener("error", () => { // of a format that this browser does not show, such as TIFF
  part("picture").alt = `${state.name} (this browser does not show pictures of this format)`;
});
document.addEventListener("paste", (event) => start([...event.clipboardData.files]));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) {
    document.body.classList.remove("dragging");
  }
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  start([...event.dataTransfer.files]);
});
