/** Addresses of hubs, as users write them. */
import { ValidationError } from "../errors.js";

/** A client that has lost its hub may have to dial each of them. */
const MAX_ADDRESSES = 100;
const MAX_PORT = 65_535;

/**
 * Splits a list of addresses such as `a:50051,b:50051`, and checks each of them.
 *
 * @returns The addresses in the order given; at least one.
 * @throws ValidationError if one of them is not valid, or is there twice, or there are too many.
 */
export function splitAddresses(addresses: unknown): string[] {
  if (typeof addresses !== "string" || !addresses.includes(",")) {
    checkAddress(addresses);
    return [addresses as string];
  }
  const found = addresses.split(",").map((address) => address.trim());
  if (found.length > MAX_ADDRESSES) {
    throw new ValidationError(`there are ${found.length} addresses; give at most ${MAX_ADDRESSES}`);
  }
  for (const [place, address] of found.entries()) {
    if (!address) throw new ValidationError("an address is missing beside a comma; write HOST:PORT,HOST:PORT");
    checkAddress(address);
    if (found.indexOf(address) !== place) {
      throw new ValidationError(`${address} is there twice; give each address once`);
    }
  }
  return found;
}

/** Refuses what gRPC would take for something else, such as an address with a scheme. */
export function checkAddress(address: unknown): void {
  const valid =
    typeof address === "string" &&
    (/^unix:.+/.test(address) ||
      (/^(\[[^\]\s]+\]|[^\s:/@]+):\d{1,5}$/.test(address) && Number(/\d+$/.exec(address)) <= MAX_PORT));
  if (!valid) {
    throw new ValidationError(
      "the address must be 'host:port', '[ipv6]:port' or 'unix:path', without a scheme, a user or a path",
    );
  }
}

/** Whether an address can only be this machine. */
export function staysHere(address: string): boolean {
  return /^(unix:|localhost:|127\.\d+\.\d+\.\d+:|\[::1\]:)/.test(address);
}
