/** Classes for values that JavaScript has no type for; each goes back to Python unchanged. */
import { SerializationError } from "../errors.js";

/**
 * A `float` whose number is integral: `new Float(3)` arrives as `3.0`, a plain `3` as the `int` 3.
 *
 * Python's floats arrive as plain numbers, unless `exact` values are asked for.
 */
export class Float {
  constructor(readonly value: number) {}

  valueOf(): number {
    return this.value;
  }

  toJSON(): number {
    return this.value;
  }

  toString(): string {
    return Number.isInteger(this.value) ? `${this.value}.0` : String(this.value);
  }
}

/** A `tuple`: an array that arrives as a tuple. Made by `Tuple.of(1, 2)` or `Tuple.from(items)`. */
export class Tuple<T = unknown> extends Array<T> {
  /** What `map` and `filter` return is an ordinary array. */
  static override get [Symbol.species](): ArrayConstructor {
    return Array;
  }

  static override of<T>(...items: T[]): Tuple<T> {
    return Tuple.from(items);
  }

  static override from<T>(items: Iterable<T> | ArrayLike<T>): Tuple<T> {
    const tuple = new Tuple<T>();
    for (const item of Array.from(items)) tuple.push(item);
    return tuple;
  }
}

/** A `frozenset`; a `Set` arrives as a `set`. */
export class FrozenSet<T = unknown> extends Set<T> {}

/** A `complex` number. */
export class Complex {
  constructor(
    readonly real: number,
    readonly imag: number,
  ) {}

  toString(): string {
    return `${this.real}${this.imag < 0 || Object.is(this.imag, -0) ? "-" : "+"}${Math.abs(this.imag)}j`;
  }
}

/** A `Decimal`, as its text: `new Decimal("1.10")`. */
export class Decimal {
  readonly text: string;

  /** @throws SerializationError if the text is not a number as Python's `Decimal` writes it. */
  constructor(text: string) {
    if (!/^[+-]?(\d+\.?\d*(E[+-]?\d+)?|\.\d+(E[+-]?\d+)?|Infinity|s?NaN\d*)$/i.test(text) || text.length > MAX_DIGITS) {
      throw new SerializationError(`${shown(text)} is not a decimal number, such as "1.10"`);
    }
    this.text = text;
  }

  toString(): string {
    return this.text;
  }

  toJSON(): string {
    return this.text;
  }
}

/** A `UUID`, in its canonical text form. */
export class UUID {
  readonly text: string;

  /** @throws SerializationError if the text is not a UUID. */
  constructor(text: string) {
    const digits = text.replace(/^urn:uuid:|[{}-]/g, "").toLowerCase();
    if (!/^[0-9a-f]{32}$/.test(digits)) {
      throw new SerializationError(`${shown(text)} is not a UUID, such as "123e4567-e89b-12d3-a456-426614174000"`);
    }
    this.text = digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  }

  toString(): string {
    return this.text;
  }

  toJSON(): string {
    return this.text;
  }
}

/** A numpy dtype.str that names numbers, bool, dates or fixed-width text. */
const DTYPE = /^[<>|=][biufcmMSUV]\d{0,9}(\[\d{0,9}(generic|Y|M|W|D|h|m|s|ms|us|μs|ns|ps|fs|as)\])?$/;
/** The limit of NumPy. */
const MAX_DIMENSIONS = 64;
/** Digits of an integer or a Decimal. */
export const MAX_DIGITS = 100_000;

/** Typed arrays by the dtype of their items. */
const ARRAYS = {
  "|i1": Int8Array,
  "|u1": Uint8Array,
  "<i2": Int16Array,
  "<u2": Uint16Array,
  "<i4": Int32Array,
  "<u4": Uint32Array,
  "<i8": BigInt64Array,
  "<u8": BigUint64Array,
  "<f4": Float32Array,
  "<f8": Float64Array,
} as const;

/** Any typed array that a Tensor can be read as. */
export type TensorArray = InstanceType<(typeof ARRAYS)[keyof typeof ARRAYS]>;

/**
 * A numpy array, or a scalar of numpy.
 *
 * A typed array such as `Float64Array` arrives as an array of one dimension; `Tensor.of(data, [2, 3])` gives it others.
 * (`Uint8Array` is `bytes`; wrap it in a Tensor for an array of numbers.)
 */
export class Tensor {
  /**
   * @param dtype - numpy's `dtype.str`, such as "<f8".
   * @param shape - Sizes of the dimensions.
   * @param data - The items in C order.
   * @param scalar - Whether it is a scalar of numpy, not an array; only without dimensions.
   * @throws SerializationError if dtype, shape and data do not match.
   */
  constructor(
    readonly dtype: string,
    readonly shape: readonly number[],
    readonly data: Uint8Array,
    readonly scalar = false,
  ) {
    if (!DTYPE.test(dtype)) {
      throw new SerializationError(`${shown(dtype)} is not a plain dtype of numpy, such as "<f8"`);
    }
    if (shape.length > MAX_DIMENSIONS) {
      throw new SerializationError(
        `a tensor has ${shape.length} dimensions; NumPy arrays have at most ${MAX_DIMENSIONS}`,
      );
    }
    if (shape.some((size) => !Number.isSafeInteger(size) || size < 0)) {
      throw new SerializationError(`a tensor has the shape [${shape.slice(0, 8).join(", ")}]; sizes are 0 or more`);
    }
    const size = shape.reduce((product, each) => product * each, itemSize(dtype));
    if (size !== data.length) {
      throw new SerializationError(
        `a tensor of dtype ${dtype} and shape [${shape.slice(0, 8).join(", ")}] takes ${size} bytes, but has ${data.length}`,
      );
    }
  }

  /** Makes an array of a typed array; one without `shape` has one dimension. */
  static of(data: TensorArray | Uint8ClampedArray, shape: readonly number[] = [data.length]): Tensor {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
    const found = Object.entries(ARRAYS).find(([, kind]) => data instanceof kind);
    return new Tensor(found?.[0] ?? "|u1", shape, bytes);
  }

  /**
   * Returns the items as a typed array, in C order.
   *
   * @throws SerializationError if no typed array has items of this dtype, such as complex numbers.
   */
  toTypedArray(): TensorArray {
    const kind = ARRAYS[this.dtype.replace("=", "<") as keyof typeof ARRAYS];
    if (!kind) {
      throw new SerializationError(`no typed array has items of dtype ${this.dtype}; read them from the tensor's data`);
    }
    // A copy, since a typed array needs an offset that its items divide.
    return new kind(this.data.slice().buffer as ArrayBuffer);
  }
}

/** The classes of a table. */
export type TableKind = "pandas.DataFrame" | "pandas.Series" | "pandas.Index" | "pyarrow.Table" | "polars.DataFrame";

/** The classes of a table, by the name in its type URL. */
export const TABLE_KINDS: readonly string[] = [
  "pandas.DataFrame",
  "pandas.Series",
  "pandas.Index",
  "pyarrow.Table",
  "polars.DataFrame",
] satisfies TableKind[];

/**
 * A DataFrame or another table of Python, as an Arrow IPC stream, which the package `apache-arrow` reads:
 * `tableFromIPC(table.ipc)`.
 */
export class ArrowTable {
  constructor(
    /** What it is in Python. */
    readonly kind: TableKind,
    /** The Arrow IPC stream. */
    readonly ipc: Uint8Array,
  ) {}
}

function itemSize(dtype: string): number {
  const [, kind, digits] = /^.(.)(\d*)/.exec(dtype)!;
  if (kind === "m" || kind === "M") return 8;
  const size = Number(digits || "0");
  return kind === "U" ? size * 4 : kind === "b" && !digits ? 1 : size;
}

function shown(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
}
