"""Every picture the project makes: overlays, contact sheets, plots and the HTML report."""
