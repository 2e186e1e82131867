"use strict";
// A crystal in 3D, by 3Dmol: atoms in the cell and on its faces, bonds to nearest neighbours; mouse, touch and arrow keys.

const BONDED = 1.25; // of the distance to the nearest atom, for both atoms
const MOST_BONDED = 500; // atoms drawn, up to which bonds are looked for

class View {
  constructor(id) {
    this.place = $(id);
    this.viewer = null;
  }

  /** Draw atoms, those at a face of the cell on both sides; `onAtom` gets the site that is clicked. */
  draw(crystal, masked, { fresh = false, filled = new Set(), onAtom = null } = {}) {
    try {
      if (!this.viewer) this.open();
    } catch {
      this.place.replaceChildren(make("p", {}, "This browser has no WebGL, so nothing is drawn; the rest of the page works."));
      return;
    }
    const viewer = this.viewer;
    viewer.removeAllShapes();
    viewer.removeAllLabels();
    for (const [a, b] of edges(crystal.lattice)) viewer.addCylinder({ start: a, end: b, radius: 0.025, color: "#5c6570" });
    const atoms = images(crystal, masked);
    for (const [a, b] of bonds(atoms)) viewer.addCylinder({ start: a.at, end: b.at, radius: 0.09, color: "#c4cad1" });
    for (const atom of atoms) {
      const [color, radius] = told.elements[atom.symbol];
      const click = onAtom ? { clickable: true, callback: () => onAtom(atom.site) } : {};
      viewer.addSphere({ center: atom.at, radius: 0.45 * radius, color, ...click });
      const label = { position: atom.at, fontSize: 12, inFront: true, alignment: "center", fontColor: "black", backgroundColor: "white", backgroundOpacity: 0.65 };
      if (atom.symbol === "?" || filled.has(atom.site)) viewer.addLabel(atom.symbol, label);
    }
    if (fresh) {
      viewer.setView([0, 0, 0, 0, 0, 0, 0, 1]);
      viewer.zoomTo();
      viewer.rotate(-90, "vx"); // c upwards
      viewer.rotate(24, "vy");
      viewer.rotate(12, "vx");
      viewer.zoom(1.2);
    }
    viewer.render();
  }

  open() {
    this.viewer = $3Dmol.createViewer(this.place, { backgroundColor: "white", disableFog: true, orthographic: true });
    if (!this.viewer) throw new Error("no WebGL");
    const steps = { ArrowLeft: ["vy", -10], ArrowRight: ["vy", 10], ArrowUp: ["vx", -10], ArrowDown: ["vx", 10] };
    this.place.addEventListener("keydown", (event) => {
      if (steps[event.key]) this.viewer.rotate(steps[event.key][1], steps[event.key][0]);
      else if (event.key === "+" || event.key === "-") this.viewer.zoom(event.key === "+" ? 1.15 : 0.87);
      else return;
      event.preventDefault();
      this.viewer.render();
    });
    new ResizeObserver(() => this.viewer.resize()).observe(this.place);
  }
}

const cartesian = (frac, lattice) => {
  const [x, y, z] = [0, 1, 2].map((axis) => frac.reduce((sum, f, k) => sum + f * lattice[k][axis], 0));
  return { x, y, z };
};

function edges(lattice) {
  const corner = (k) => cartesian([k & 1, (k >> 1) & 1, (k >> 2) & 1], lattice);
  const found = [];
  for (let a = 0; a < 8; a++) for (const bit of [1, 2, 4]) if (!(a & bit)) found.push([corner(a), corner(a | bit)]);
  return found;
}

/** Atoms to draw: an atom that lies at a face, edge or corner of the cell is drawn at all of its images there. */
function images(crystal, masked) {
  const near = 0.04;
  const atoms = [];
  crystal.frac.forEach((frac, site) => {
    const symbol = masked.has(site) ? "?" : crystal.elements[site] || "?";
    let places = [[]];
    for (const f of frac) {
      const along = f < near ? [f, f + 1] : f > 1 - near ? [f - 1, f] : [f];
      places = places.flatMap((place) => along.map((each) => [...place, each]));
    }
    for (const place of places) atoms.push({ site, symbol, at: cartesian(place, crystal.lattice) });
  });
  return atoms;
}

function bonds(atoms) {
  if (atoms.length > MOST_BONDED) return [];
  const apart = (a, b) => Math.hypot(a.at.x - b.at.x, a.at.y - b.at.y, a.at.z - b.at.z);
  const nearest = atoms.map((a) => Math.min(...atoms.filter((b) => b !== a).map((b) => apart(a, b))));
  const joined = (a, i) => atoms.slice(0, i).filter((b, k) => apart(a, b) < BONDED * Math.min(nearest[i], nearest[k]));
  return atoms.flatMap((a, i) => joined(a, i).map((b) => [a, b]));
}
