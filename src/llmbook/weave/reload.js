// Under `mkdocs serve`: MkDocs reloads whatever page is open when anything has changed. With this,
// a page is reloaded if it has changed itself, and what stood at the top of the window stands there
// again.
(() => {
  const top = "weave-top", own = document.querySelector("meta[name=weave-page]").content
  let seen = 0
  const text = () => document.querySelector("article") || document.querySelector("[role=main], main")
  const anchors = () => [...(text() || document).querySelectorAll("[id]")]  // of no sticky column
  const stay = () => {
    const first = anchors().find(e => e.getBoundingClientRect().bottom > 0)
    if (first) {
      const at = first.getBoundingClientRect().top
      sessionStorage[top] = JSON.stringify([location.pathname, first.id, at])
    }
    location.reload()
  }
  addEventListener("DOMContentLoaded", () => {
    const [path, id, at] = JSON.parse(sessionStorage[top] || "[]")
    delete sessionStorage[top]
    const first = path === location.pathname && document.getElementById(id)
    if (!first) return
    history.scrollRestoration = "manual"
    const settle = () => {
      scrollBy({ top: first.getBoundingClientRect().top - at, behavior: "instant" })
    }
    settle()
    addEventListener("load", settle)
  })
  const changed = async () => {
    const page = await fetch(location.href, { cache: "no-store" })
    return page.ok && !(await page.text()).includes(`name="weave-page" content="${own}"`)
  }
  const open = XMLHttpRequest.prototype.open
  XMLHttpRequest.prototype.open = function (method, url, ...rest) {
    const asked = /^\/livereload\/(\d+)\/(.*)/.exec(url)
    if (!asked) return open.call(this, method, url, ...rest)
    const next = this.onloadend, epoch = asked[1]
    seen = Math.max(seen, epoch)
    this.onloadend = async () => {
      const now = parseFloat(this.responseText)
      if (now > seen) {
        seen = now
        if (await changed()) return stay()
      }
      Object.defineProperty(this, "responseText", { value: epoch })
      next.call(this)
    }
    return open.call(this, method, `/livereload/${seen}/${asked[2]}`, ...rest)
  }
})()
