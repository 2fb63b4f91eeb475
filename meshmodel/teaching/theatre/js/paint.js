// Dots on a canvas.

const COLOURS = ["healthy", "troubled", "proxy", "plain", "ink", "ground", "focus"];

// The colours as the style sheet has them now, for a canvas that knows no CSS: a probe's computed colour is resolved.
function readLook(element) {
  const probe = html("i", { hidden: "" }, element);
  const colours = Object.fromEntries(COLOURS.map((name) => {
    probe.style.color = `var(--${name})`;
    return [name, getComputedStyle(probe).color];
  }));
  probe.remove();
  return { ...colours, font: getComputedStyle(element).fontFamily };
}

function sizeCanvas(canvas, width, height) {
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  canvas.style.height = `${height}px`;
  canvas.getContext("2d").setTransform(scale, 0, 0, scale, 0, 0);
}

function paint(canvas, geo, dots, rings, look, focus) {
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, geo.width, geo.height);
  for (const ring of rings) paintFlash(pen, ring, look);
  for (const dot of dots) if (dot.trail) paintTrail(pen, dot, look);
  for (const dot of dots) paintDot(pen, dot, look);
  for (const dot of dots) if (focus(dot.row)) paintHalo(pen, dot, look);
}

function circle(pen, x, y, r) {
  pen.beginPath();
  pen.arc(x, y, r, 0, 2 * Math.PI);
}

function paintFlash(pen, { x, y, age, role }, look) {
  pen.globalAlpha = 1 - age;
  pen.strokeStyle = look[role] ?? look.plain;
  pen.lineWidth = 2.5;
  circle(pen, x, y, 7 + 13 * age);
  pen.stroke();
  pen.globalAlpha = 1;
}

function paintTrail(pen, dot, look) {
  pen.fillStyle = look[dot.role] ?? look.plain;
  dot.trail.forEach((p, k) => {
    pen.globalAlpha = 0.3 - 0.09 * k;
    circle(pen, p.x, p.y, dot.r * (0.86 - 0.14 * k));
    pen.fill();
  });
  pen.globalAlpha = 1;
}

function paintDot(pen, dot, look) {
  const colour = look[dot.role] ?? look.plain;
  if (dot.ghost) return paintGhost(pen, dot, colour);
  if (dot.left !== undefined) return paintResting(pen, dot, look);
  pen.fillStyle = colour;
  pen.strokeStyle = look.ground;
  pen.lineWidth = dot.r > 3.4 ? 1.25 : 0.5;
  if (dot.shape === "diamond") diamond(pen, dot.x, dot.y, dot.r * 1.3);
  else circle(pen, dot.x, dot.y, dot.r);
  pen.fill();
  pen.stroke();
  if (dot.mark === "cross") cross(pen, dot, look.ground);
  else if (dot.number > 1 && dot.r >= 4) digit(pen, dot, look);
}

function paintGhost(pen, dot, colour) {
  pen.strokeStyle = colour;
  pen.lineWidth = 1.4;
  pen.setLineDash([2.2, 1.8]);
  circle(pen, dot.x, dot.y, Math.max(1, dot.r - 0.8));
  pen.stroke();
  pen.setLineDash([]);
}

// Back-off: a dot in a ring that empties.
function paintResting(pen, dot, look) {
  pen.fillStyle = look.plain;
  circle(pen, dot.x, dot.y, dot.r * 0.5);
  pen.fill();
  pen.strokeStyle = look.ink;
  pen.lineWidth = Math.max(1, dot.r * 0.34);
  pen.beginPath();
  pen.arc(dot.x, dot.y, dot.r * 0.95, -Math.PI / 2, -Math.PI / 2 + 2 * Math.PI * clamp(dot.left, 0, 1));
  pen.stroke();
}

function paintHalo(pen, dot, look) {
  pen.strokeStyle = look.focus;
  pen.lineWidth = 2;
  circle(pen, dot.x, dot.y, dot.r + 3.2);
  pen.stroke();
}

function diamond(pen, x, y, r) {
  pen.beginPath();
  pen.moveTo(x, y - r);
  pen.lineTo(x + r, y);
  pen.lineTo(x, y + r);
  pen.lineTo(x - r, y);
  pen.closePath();
}

function cross(pen, { x, y, r }, colour) {
  const d = r * 0.45;
  pen.strokeStyle = colour;
  pen.lineWidth = Math.max(1, r * 0.34);
  pen.beginPath();
  pen.moveTo(x - d, y - d);
  pen.lineTo(x + d, y + d);
  pen.moveTo(x + d, y - d);
  pen.lineTo(x - d, y + d);
  pen.stroke();
}

function digit(pen, dot, look) {
  pen.fillStyle = look.ground;
  pen.font = `700 ${Math.round(dot.r * 1.7)}px ${look.font}`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.fillText(String(dot.number), dot.x, dot.y + 0.5);
}
