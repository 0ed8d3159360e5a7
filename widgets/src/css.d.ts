declare module "*.css" {
  const text: string;
  export default text;
}

declare module "drawings" {
  const make: Parameters<import("./hub").Hub["draw"]>[0];
  export default make;
}
