import { Component, createRef } from "preact";
import type { Tokens } from "marked";
import type { Block } from "../lib/blocks.ts";
import { render } from "../lib/markdown.ts";
import { CodeBlock } from "./CodeBlock.tsx";

interface Props {
  block: Block;
  /** How many numbered sources the answer has. */
  sources: number;
  /** The block is still being written. */
  growing?: boolean;
}

/** One block of an answer; drawn again only when its own text changed. */
export class BlockView extends Component<Props> {
  readonly #place = createRef<HTMLDivElement>();

  override shouldComponentUpdate(next: Props): boolean {
    return (
      next.block.raw !== this.props.block.raw ||
      next.sources !== this.props.sources ||
      next.growing !== this.props.growing
    );
  }

  override componentDidMount(): void {
    this.#draw();
  }

  override componentDidUpdate(): void {
    this.#draw();
  }

  #draw(): void {
    const place = this.#place.current;
    if (place) place.replaceChildren(render(this.props.block.token, this.props.sources));
  }

  override render({ block, growing }: Props) {
    if (block.token.type === "code") {
      const code = block.token as Tokens.Code;
      return <CodeBlock code={code.text} language={code.lang ?? ""} growing={growing ?? false} />;
    }
    return <div class="block" ref={this.#place} />;
  }
}
