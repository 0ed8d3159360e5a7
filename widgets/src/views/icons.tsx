// Small line icons, 16 x 16, drawn for this project.
const PATHS = {
  dot: "M8 6.800a1.200 1.200 0 100 2.400 1.200 1.200 0 000-2.400z",
  dash: "M5.500 8h5",
  chevron: "M6 4l4 4-4 4",
  check: "M3.5 8.5l3 3 6-7",
  cross: "M4.5 4.5l7 7M11.5 4.5l-7 7",
  stop: "M5 5h6v6H5z",
  pause: "M6 4.5v7M10 4.5v7",
  clock: "M8 2.5a5.5 5.5 0 100 11 5.5 5.5 0 000-11zM8 5v3.2l2.2 1.3",
  warn: "M8 2.8l5.6 10H2.4zM8 6.6v3M8 11.3v.2",
  copy: "M6 6h7v7H6zM10 6V3H3v7h3",
  think: "M8 2.5a4 4 0 00-2.4 7.2c.5.4.8.9.8 1.5h3.2c0-.6.3-1.1.8-1.5A4 4 0 008 2.5zM6.7 13.5h2.6",
  tool: "M9.8 2.7a3.3 3.3 0 00-3.5 4.5L2.8 10.7a1.3 1.3 0 000 1.8l.7.7a1.3 1.3 0 001.8 0l3.5-3.5a3.3 3.3 0 004.5-3.5L11.2 8.300 8.900 7.100 7.700 4.800z",
  file: "M4 2.500h5l3 3v8H4zM9 2.500v3h3",
  image: "M2.500 3.500h11v9h-11zM3 11l3-3 2.500 2.500L11 8l2.500 2.500M6 6.200v.1",
  download: "M8 2.500v7.500M5 7.200L8 10l3-2.800M3 13.200h10",
  link: "M6.500 9.500l3-3M7 5l1.300-1.300a2.600 2.600 0 013.700 3.700L10.700 8.700M9 11l-1.300 1.300a2.600 2.600 0 01-3.700-3.700L5.300 7.300",
  retry: "M12.500 5.500A5 5 0 103.200 9M12.700 2.700v3h-3",
  data: "M6 3C4.500 3 4.800 5 4.700 6.300 4.600 7.300 4 8 3 8c1 0 1.600.7 1.700 1.700C4.800 11 4.500 13 6 13M10 3c1.500 0 1.200 2 1.300 3.300C11.400 7.300 12 8 13 8c-1 0-1.600.7-1.700 1.700-.1 1.300.2 3.300-1.300 3.300",
} as const;

export type IconName = keyof typeof PATHS | "spinner";

function Drawn({ name }: { name: IconName }) {
  if (name !== "spinner") return <path d={PATHS[name]} />;
  return (
    <>
      <circle cx="8" cy="8" r="5.5" class="track" />
      <path d="M8 2.500a5.500 5.500 0 015.500 5.500" />
    </>
  );
}

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class={`icon i-${name}`} viewBox="0 0 16 16" aria-hidden="true">
      <Drawn name={name} />
    </svg>
  );
}

/** An icon inside a drawing. */
export function Glyph({ name, x, y, size }: { name: IconName; x: number; y: number; size: number }) {
  return (
    <g transform={`translate(${x} ${y}) scale(${size / 16})`}>
      <g class={`icon i-${name}`}>
        <Drawn name={name} />
      </g>
    </g>
  );
}
