// What the four tutorials share: a place for lines, a button that is the person's consent.
export function log(line) {
  document.querySelector("#log").textContent += `${line}\n`;
}

/** What the page's address says: the ticket, needed once, and gateways where those in the ticket cannot be reached. */
export function fromAddress(config) {
  const said = new URLSearchParams(location.search);
  if (said.has("ticket")) config.ticket(said.get("ticket"));
  return config.bootstrap(said.getAll("gateway"));
}

/** Runs after a click, and says what went wrong. */
export function onConsent(does) {
  const button = document.querySelector("#go");
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await does();
    } catch (error) {
      log(`failed: ${error.message}`);
      button.disabled = false;
    }
  });
}
