/** Dates and times of Python, with what `Date` cannot keep: microseconds, zones, and local times that come twice. */
import { SerializationError } from "../errors.js";

const DATE = /^(\d{4})-(\d{2})-(\d{2})$/;
const TIME = /^(\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{3}|\d{6}))?)?(Z|[+-]\d{2}:\d{2}(?::\d{2}(?:\.\d{6})?)?)?$/;
/** The longest IANA name has 32 characters. */
const MAX_ZONE_CHARS = 100;
const MICROSECONDS_A_DAY = 86_400_000_000n;

/** How a date or time is written in a zone. */
export interface ZoneOptions {
  /** IANA name of the time zone, such as "Europe/Berlin". */
  zone?: string;
  /** Python's `fold`: the second of two equal local times. */
  fold?: boolean;
  /** Name of a fixed offset, such as "CET". */
  offsetName?: string;
}

/** A text of ISO 8601 with the zone that it is in. */
abstract class Zoned {
  readonly zone: string;
  readonly fold: boolean;
  readonly offsetName: string;

  protected constructor(
    /** ISO 8601, with the offset if there is one. */
    readonly iso: string,
    { zone = "", fold = false, offsetName = "" }: ZoneOptions,
  ) {
    checkZone(zone);
    this.zone = zone;
    this.fold = fold;
    this.offsetName = offsetName;
  }

  toString(): string {
    return this.zone ? `${this.iso}[${this.zone}]` : this.iso;
  }

  toJSON(): string {
    return this.iso;
  }
}

/**
 * A `datetime`.
 *
 * @example
 * ```ts
 * new DateTime("2026-10-25T02:30:00", { zone: "Europe/Berlin", fold: true });
 * DateTime.from(new Date());
 * ```
 */
export class DateTime extends Zoned {
  /** @throws SerializationError if the text is not a date and a time. */
  constructor(iso: string, zone: ZoneOptions = {}) {
    const [date, time] = [iso.slice(0, 10), iso.slice(11)];
    if (!/[T ]/.test(iso[10] ?? "") || !isDate(date) || !isTime(time)) {
      throw new SerializationError(`${shown(iso)} is not a date and a time, such as "2026-03-01T12:30:00+01:00"`);
    }
    super(iso, zone);
  }

  /** Makes one of a `Date`, in UTC. */
  static from(date: Date): DateTime {
    if (Number.isNaN(date.getTime())) throw new SerializationError("an invalid Date cannot be sent; send null");
    const iso = date.toISOString();
    if (iso.length !== 24) throw new SerializationError(`${iso} is outside the years 1 to 9999 of Python's datetime`);
    return new DateTime(iso.endsWith(".000Z") ? `${iso.slice(0, 19)}+00:00` : `${iso.slice(0, 23)}000+00:00`);
  }

  /**
   * The moment in microseconds since 1970 in UTC.
   *
   * @throws SerializationError if it has no offset, and so is no moment.
   */
  get epochMicroseconds(): bigint {
    const [, hour, minute, second = "0", fraction = "0", offset] = TIME.exec(this.iso.slice(11))!;
    if (!offset) {
      throw new SerializationError(`${this.iso} has no offset, so it is not known which moment it is`);
    }
    const [, year, month, day] = DATE.exec(this.iso.slice(0, 10))!;
    const date = new Date(0);
    date.setUTCFullYear(Number(year), Number(month) - 1, Number(day));
    const seconds = Number(hour) * 3600 + Number(minute) * 60 + Number(second);
    const days = BigInt(Math.round(date.getTime() / 86_400_000)) * MICROSECONDS_A_DAY;
    return days + BigInt(seconds) * 1_000_000n + BigInt(fraction.padEnd(6, "0")) - offsetMicroseconds(offset);
  }

  /** The moment as a `Date`, which has milliseconds; throws as `epochMicroseconds` does. */
  toDate(): Date {
    const micros = this.epochMicroseconds;
    const millis = micros / 1000n - (micros % 1000n < 0n ? 1n : 0n);
    return new Date(Number(millis));
  }
}

/** A `date`, such as `new PlainDate("2026-03-01")`. */
export class PlainDate {
  readonly iso: string;

  /** @throws SerializationError if the text is not a date. */
  constructor(iso: string) {
    if (!isDate(iso)) throw new SerializationError(`${shown(iso)} is not a date, such as "2026-03-01"`);
    this.iso = iso;
  }

  toString(): string {
    return this.iso;
  }

  toJSON(): string {
    return this.iso;
  }
}

/** A `time` of day, such as `new PlainTime("12:30:00")`; it may have an offset or a zone. */
export class PlainTime extends Zoned {
  /** @throws SerializationError if the text is not a time. */
  constructor(iso: string, zone: ZoneOptions = {}) {
    if (!isTime(iso)) throw new SerializationError(`${shown(iso)} is not a time, such as "12:30:00"`);
    super(iso, zone);
  }
}

/** A `timedelta`, in the form that Python keeps: a negative one has negative days and the rest above 0. */
export class TimeDelta {
  readonly days: number;
  readonly seconds: number;
  readonly microseconds: number;

  /** Parts of any size and sign are carried over: `new TimeDelta({ seconds: -1 })` is -1 day and 86,399 s. */
  constructor({ days = 0, seconds = 0, microseconds = 0 }: { days?: number; seconds?: number; microseconds?: number }) {
    for (const part of [days, seconds, microseconds]) {
      if (!Number.isSafeInteger(part)) {
        throw new SerializationError(`a TimeDelta has whole days, seconds and microseconds, not ${part}`);
      }
    }
    const total = BigInt(days) * MICROSECONDS_A_DAY + BigInt(seconds) * 1_000_000n + BigInt(microseconds);
    const remainder = ((total % MICROSECONDS_A_DAY) + MICROSECONDS_A_DAY) % MICROSECONDS_A_DAY;
    this.days = Number((total - remainder) / MICROSECONDS_A_DAY);
    this.seconds = Number(remainder / 1_000_000n);
    this.microseconds = Number(remainder % 1_000_000n);
    if (Math.abs(this.days) > 999_999_999) throw new SerializationError("a TimeDelta has at most 999,999,999 days");
  }

  /** Makes one of milliseconds. */
  static fromMilliseconds(milliseconds: number): TimeDelta {
    return new TimeDelta({ microseconds: Math.round(milliseconds * 1000) });
  }

  /** The whole in milliseconds, rounded to what a number holds. */
  get totalMilliseconds(): number {
    return (this.days * 86_400 + this.seconds) * 1000 + this.microseconds / 1000;
  }
}

function isDate(text: string): boolean {
  const [, year, month, day] = DATE.exec(text) ?? [];
  if (year === undefined || Number(year) < 1) return false;
  const date = new Date(0);
  date.setUTCFullYear(Number(year), Number(month) - 1, Number(day));
  return date.getUTCMonth() === Number(month) - 1 && date.getUTCDate() === Number(day);
}

function isTime(text: string): boolean {
  const [, hour, minute, second = "0"] = TIME.exec(text) ?? [];
  return hour !== undefined && Number(hour) < 24 && Number(minute) < 60 && Number(second) < 60;
}

/** The zones that were seen, since asking for one takes long; there are some 600. */
const knownZones = new Set<string>([""]);

function checkZone(zone: string): void {
  if (knownZones.has(zone)) return;
  if (zone.length > MAX_ZONE_CHARS) throw new SerializationError(`${shown(zone)} is not the name of a time zone`);
  try {
    new Intl.DateTimeFormat("en", { timeZone: zone });
  } catch {
    throw new SerializationError(`the time zone ${shown(zone)} is not known here`);
  }
  knownZones.add(zone);
}

function offsetMicroseconds(offset: string): bigint {
  if (offset === "Z") return 0n;
  const [hours, minutes, seconds = "0"] = offset.slice(1).split(":");
  const [whole, fraction = "0"] = seconds.split(".");
  const total = BigInt(Number(hours) * 3600 + Number(minutes) * 60 + Number(whole)) * 1_000_000n + BigInt(fraction);
  return offset.startsWith("-") ? -total : total;
}

function shown(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
}
