"""Names of the real files in the folder of the fixture `realdata`."""

APSTAR = (
    "apStar-r5-2M00004994+1621552.fits",
    "apStar-r6-2M03290406+3117075.fits",
    "apStar-r6-2M03434763+3209025.fits",
    "apStar-r6-2M11194647+0820356.fits",
)
