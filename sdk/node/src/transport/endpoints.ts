/** Where the hub is, or the hubs of which any will do. */
import { SeveralEndpoints } from "../link/several.js";
import type { Endpoint } from "../link/streams.js";
import { splitAddresses } from "./addresses.js";
import { type ConnectionOptions, GrpcEndpoint } from "./grpc.js";

/**
 * Returns the hub at an address, or the hubs at several with commas between them.
 *
 * @throws ValidationError if an argument is not valid.
 */
export function endpointAt(address: string, options: ConnectionOptions): Endpoint {
  const addresses = splitAddresses(address);
  const others = addresses.length > 1;
  const endpoints = addresses.map((each) => new GrpcEndpoint(each, options, { others }));
  return others ? new SeveralEndpoints(endpoints) : endpoints[0]!;
}
