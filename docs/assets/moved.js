// On a page that has moved: go to where it is now, at the same place in it.
const { old: before, new: now } = document.documentElement.dataset
const page = document.querySelector("link[rel=canonical]").href
location.replace(page + location.hash.replace(before, now))
