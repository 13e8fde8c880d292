/** Starts the UI: one page of three, by the address. */

import { Client } from "@runcast/core";
import { render } from "preact";
import { App } from "./app.tsx";
import "./styles/base.css";
import "./styles/runs.css";
import "./styles/run.css";
import "./styles/talk.css";
import "./styles/work.css";
import "./styles/log.css";

const app = document.getElementById("app");
if (app) render(<App client={new Client()} />, app);
