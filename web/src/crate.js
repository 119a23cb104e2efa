// Reads USD packages in the browser: .usdz or .usdc bytes in, the specs of every layer out. three.js parses the
// crate; this adds the value types our rigs carry that it leaves out (string[], dictionaries, packed half[]).
import { DataUtils } from "three";
import { USDCParser } from "three/addons/loaders/usd/USDCParser.js";

const INT = 3;
const HALF = 7;
const STRING = 10;
const DICTIONARY = 31;

/** A crate value: type and place, 8 bytes little-endian (crate file format, "ValueRep"). */
class Rep {
  constructor(lo, hi) {
    this.lo = lo;
    this.hi = hi;
  }
  get isArray() {
    return (this.hi & 0x80000000) !== 0;
  }
  get isInlined() {
    return (this.hi & 0x40000000) !== 0;
  }
  get isCompressed() {
    return (this.hi & 0x20000000) !== 0;
  }
  get typeEnum() {
    return (this.hi >> 16) & 0xff;
  }
  get payload() {
    return this.lo + (this.hi & 0xffff) * 0x100000000;
  }
  getInlinedValue() {
    return this.lo;
  }
}

class Crate extends USDCParser {
  /** The path table may be longer than the list of encoded paths; three.js takes one for the other. */
  _readPaths() {
    const section = this.sections.PATHS;
    if (!section || (this.version.major === 0 && this.version.minor < 4)) return super._readPaths();
    this.reader.seek(section.start);
    this.paths = new Array(this.reader.readUint64()).fill("");
    const count = this.reader.readUint64();
    const [paths, tokens, jumps] = [0, 1, 2].map(() => this._readCompressedArray(INT, count));
    return this._buildPathsFromCompressed(paths, tokens, jumps);
  }

  _readArrayValue(rep) {
    const start = this.reader.tell();
    if (rep.typeEnum === STRING) {
      const size = this.reader.readUint64();
      if (size * 4 > this.buffer.byteLength) throw new Error("The file is damaged: a text list is too long.");
      return Array.from({ length: size }, () => this.tokens[this.strings[this.reader.readUint32()]] ?? "");
    }
    if (rep.typeEnum === HALF && rep.isCompressed) {
      // The same container as float[]: integers, or a table whose entries are halfs instead of floats.
      const reader = this.reader;
      reader.readUint64();
      const integers = reader.readInt8() === 0x69;
      if (integers) {
        reader.seek(start);
        return super._readArrayValue(new Rep(rep.lo, (rep.hi & ~0xff0000) | (8 << 16)));
      }
      return this._halfTable(start);
    }
    return super._readArrayValue(rep);
  }

  _halfTable(start) {
    const reader = this.reader;
    reader.seek(start);
    const size = reader.readUint64();
    reader.readInt8();
    const table = new Float32Array(reader.readUint32());
    for (let i = 0; i < table.length; i++) table[i] = DataUtils.fromHalfFloat(reader.readUint16());
    // The indices that follow are packed like any int[]: size first, so read them through the same door.
    return Float32Array.from(this._readCompressedArray(INT, size), (i) => table[i]);
  }

  _readScalarValue(type) {
    if (type !== DICTIONARY) return super._readScalarValue(type);
    const reader = this.reader;
    const count = reader.readUint64();
    const found = {};
    for (let i = 0; i < count && i < 65536; i++) {
      const key = this.tokens[this.strings[reader.readUint32()]];
      // The nested data lies between the offset and the value; the next key follows the value.
      const here = reader.tell();
      reader.seek(here + reader.readInt64());
      found[key] = this._readValue(new Rep(reader.readUint32(), reader.readUint32()));
    }
    return found;
  }
}

/** Entries of a stored (uncompressed) zip, name -> bytes, in file order; usdz allows no other kind. */
export function unzip(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let end = bytes.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0) throw new Error("This .usdz is cut off: it has no directory.");
  const files = new Map();
  let at = view.getUint32(end + 16, true);
  for (let i = 0; i < view.getUint16(end + 10, true); i++) {
    if (view.getUint32(at, true) !== 0x02014b50) throw new Error("This .usdz has a damaged directory.");
    if (view.getUint16(at + 10, true) !== 0) throw new Error("This .usdz is compressed, which USD forbids.");
    const size = view.getUint32(at + 20, true);
    const nameLength = view.getUint16(at + 28, true);
    const local = view.getUint32(at + 42, true);
    const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength));
    const from = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    if (from + size > bytes.length) throw new Error(`This .usdz is cut off inside ${name}.`);
    files.set(name, bytes.subarray(from, from + size));
    at += 46 + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  return files;
}

/**
 * Bytes of a .usdz or .usdc -> { layers: [specs by path], files: name -> bytes }; the root layer comes first.
 * Throws an Error that says what is wrong.
 */
export function readLayers(bytes) {
  const magic = new TextDecoder("latin1").decode(bytes.subarray(0, 8));
  const files = magic.startsWith("PK") ? unzip(bytes) : new Map([["asset.usdc", bytes]]);
  const layers = [];
  for (const [name, data] of files) {
    if (!/\.usdc?$/.test(name)) continue;
    if (new TextDecoder("latin1").decode(data.subarray(0, 8)) !== "PXR-USDC") {
      throw new Error(`${name} is no binary USD layer.`);
    }
    layers.push(new Crate().parseData(data.slice().buffer).specsByPath);
  }
  if (!layers.length) throw new Error("There is no USD layer in this file.");
  return { layers, files };
}
